SELECT environment_id, count(*) FROM keys
WHERE organisation_id = $1 AND revoked_at IS NULL
GROUP BY environment_id
