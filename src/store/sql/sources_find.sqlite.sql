-- $1: JSON, an array a source: the id if it is a new one, environment, name, moment (and how many
-- events and bytes, which is not read here).
-- Changes nothing of those that are there: that is how they are returned as well.
INSERT INTO sources (id, environment_id, name, created_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3
FROM json_each($1)
WHERE true -- Without it, ON CONFLICT would be read as a part of a join.
ON CONFLICT (environment_id, name) DO UPDATE SET name = excluded.name
RETURNING environment_id, name, id
