SELECT v.uuid
FROM events v
JOIN sources s ON s.id = v.source_id
WHERE v.organisation_id = $1 AND s.environment_id = $2
ORDER BY v.uuid DESC
LIMIT 1 OFFSET $3
