DELETE FROM events
WHERE organisation_id = $1 AND uuid IN (SELECT v.uuid FROM events v WHERE v.organisation_id = $1 LIMIT $2)
