SELECT count(*) FROM (SELECT 1 FROM keys WHERE organisation_id = $1 AND revoked_at IS NULL LIMIT 1) AS found
