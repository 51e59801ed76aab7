-- The sources of an environment that have events with an id below $2.
SELECT s.id
FROM sources s
WHERE s.environment_id = $1 AND EXISTS (SELECT 1 FROM events v WHERE v.source_id = s.id AND v.uuid < $2)
ORDER BY s.id
