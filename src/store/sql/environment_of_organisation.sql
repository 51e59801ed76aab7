SELECT name, mode, archived_at FROM environments WHERE id = $1 AND organisation_id = $2
