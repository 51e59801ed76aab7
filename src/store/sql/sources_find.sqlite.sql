-- $1: JSON, an array for each source: the id if it is new, environment, name, moment (and the number of events and
-- bytes, which this statement ignores).
-- An existing source is written unchanged, so that it is returned.
INSERT INTO sources (id, environment_id, name, created_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3
FROM json_each($1)
WHERE true -- Without WHERE, SQLite would parse ON CONFLICT as part of a join.
ON CONFLICT (environment_id, name) DO UPDATE SET name = excluded.name
RETURNING environment_id, name, id
