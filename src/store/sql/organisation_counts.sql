SELECT key_count AS keys, revoked_count AS revoked FROM organisations WHERE id = $1
