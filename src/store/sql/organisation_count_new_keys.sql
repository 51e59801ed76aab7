-- $2: the number of new keys; $3: the largest number of keys that are not revoked; $4: the number of revoked keys from
-- which the organisation gets no further keys.
UPDATE organisations SET key_count = key_count + $2
WHERE id = $1 AND key_count - revoked_count + $2 <= $3 AND revoked_count < $4
