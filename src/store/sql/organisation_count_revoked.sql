UPDATE organisations SET revoked_count = revoked_count + $2 WHERE id = $1
