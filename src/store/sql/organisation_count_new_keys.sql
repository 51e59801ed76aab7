-- $2: how many new keys; $3: how many it may have that are not revoked.
UPDATE organisations SET key_count = key_count + $2 WHERE id = $1 AND key_count - revoked_count + $2 <= $3
