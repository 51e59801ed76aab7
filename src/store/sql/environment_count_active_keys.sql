SELECT count(*) FROM keys WHERE environment_id = $1 AND revoked_at IS NULL
