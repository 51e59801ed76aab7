UPDATE organisations SET key_count = key_count + 1 WHERE id = $1 AND key_count - revoked_count < $2
