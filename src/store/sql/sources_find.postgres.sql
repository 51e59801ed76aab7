-- $1: JSON, an array for each source: the id if it is new, environment, name, moment (and the number of events and
-- bytes, which this statement ignores). The sources are locked in this order.
-- An existing source is written unchanged, so that it is returned and locked.
INSERT INTO sources (id, environment_id, name, created_at)
SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT), value ->> 2, CAST(value ->> 3 AS BIGINT)
FROM jsonb_array_elements(CAST($1 AS jsonb)) WITH ORDINALITY AS s (value, place)
ORDER BY place
ON CONFLICT (environment_id, name) DO UPDATE SET name = excluded.name
RETURNING environment_id, name, id
