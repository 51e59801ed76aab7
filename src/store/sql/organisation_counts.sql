SELECT key_count, revoked_count FROM organisations WHERE id = $1
