DELETE FROM environments WHERE organisation_id = $1
