-- $2: how many new keys; $3: how many it may have that are not revoked; $4: below how many revoked ones.
UPDATE organisations SET key_count = key_count + $2
WHERE id = $1 AND key_count - revoked_count + $2 <= $3 AND revoked_count < $4
