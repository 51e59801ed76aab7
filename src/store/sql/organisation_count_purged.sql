UPDATE organisations SET key_count = key_count - $2, revoked_count = revoked_count - $2 WHERE id = $1 RETURNING name
