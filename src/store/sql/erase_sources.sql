DELETE FROM sources WHERE environment_id IN (SELECT id FROM environments WHERE organisation_id = $1)
