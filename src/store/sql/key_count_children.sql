SELECT count(*) FROM keys WHERE parent_id = $1 AND revoked_at IS NULL
