UPDATE token_families SET ended_at = $2 WHERE organisation_id = $1 AND ended_at IS NULL
