-- $1: JSON, an array for each source: environment, name.
SELECT s.environment_id, s.name
FROM json_each($1) AS p
JOIN sources s ON s.environment_id = p.value ->> 0 AND s.name = p.value ->> 1
