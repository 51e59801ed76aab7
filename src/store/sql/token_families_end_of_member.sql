UPDATE token_families SET ended_at = $3 WHERE user_id = $1 AND organisation_id = $2 AND ended_at IS NULL
