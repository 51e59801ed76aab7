-- $1: JSON, an array for each source: environment, name.
SELECT s.environment_id, s.name
FROM jsonb_array_elements(CAST($1 AS jsonb)) AS p (value)
JOIN sources s ON s.environment_id = CAST(p.value ->> 0 AS BIGINT) AND s.name = p.value ->> 1
