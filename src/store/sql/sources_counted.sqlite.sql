-- $1: JSON, an array for each source: environment, name.
SELECT environment_id, count(*)
FROM sources
WHERE environment_id IN (SELECT value ->> 0 FROM json_each($1))
GROUP BY environment_id
