-- $1: JSON, an array a source: the id if it is a new one, environment, name, moment (and how many
-- events and bytes, which is not read here). They are locked in this order.
-- Changes nothing of those that are there: that is how they are returned, and locked as well.
INSERT INTO sources (id, environment_id, name, created_at)
SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT), value ->> 2, CAST(value ->> 3 AS BIGINT)
FROM jsonb_array_elements(CAST($1 AS jsonb)) WITH ORDINALITY AS s (value, place)
ORDER BY place
ON CONFLICT (environment_id, name) DO UPDATE SET name = excluded.name
RETURNING environment_id, name, id
