-- $1: JSON, an array for each source: environment, name.
SELECT environment_id, count(*)
FROM sources
WHERE environment_id IN (SELECT CAST(value ->> 0 AS BIGINT) FROM jsonb_array_elements(CAST($1 AS jsonb)) AS p (value))
GROUP BY environment_id
