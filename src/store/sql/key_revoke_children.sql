UPDATE keys SET revoked_at = $2, revoked_by = $3 WHERE parent_id = $1 AND revoked_at IS NULL
