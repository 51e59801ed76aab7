SELECT key_count AS keys, revoked_count AS revoked, rename_count AS renames FROM organisations WHERE id = $1
