-- $2: JSON, the ids.
SELECT id FROM keys WHERE organisation_id = $1 AND id IN (SELECT value FROM json_each($2))
