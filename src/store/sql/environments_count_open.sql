SELECT count(*) FROM environments WHERE organisation_id = $1 AND archived_at IS NULL
