-- $1: JSON, an array for each event: id in hex, organisation, an array of environment and source's name, key, moment,
-- and the position of the body in $2, counted from 1, and its length. $2: all bodies, unchanged.
-- $3: JSON, an array for each source: the id if it is new, environment, name, moment, number of events, their bytes.
-- The sources are locked in this order.
WITH counted AS (
  INSERT INTO sources (id, environment_id, name, created_at, event_count, event_bytes)
  SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT), value ->> 2, CAST(value ->> 3 AS BIGINT),
         CAST(value ->> 4 AS BIGINT), CAST(value ->> 5 AS BIGINT)
  FROM jsonb_array_elements(CAST($3 AS jsonb)) WITH ORDINALITY AS s (value, place)
  ORDER BY place
  ON CONFLICT (environment_id, name) DO UPDATE
  SET event_count = sources.event_count + excluded.event_count,
      event_bytes = sources.event_bytes + excluded.event_bytes
  RETURNING id, environment_id, name
)
INSERT INTO events (uuid, organisation_id, source_id, key_id, received_at, body)
SELECT CAST(value ->> 0 AS UUID), CAST(value ->> 1 AS BIGINT), c.id, CAST(value ->> 3 AS BIGINT),
       CAST(value ->> 4 AS BIGINT),
       substring(CAST($2 AS BYTEA) FROM CAST(value ->> 5 AS INTEGER) FOR CAST(value ->> 6 AS INTEGER))
FROM jsonb_array_elements(CAST($1 AS jsonb)) AS e (value)
JOIN counted c ON c.environment_id = CAST(value -> 2 ->> 0 AS BIGINT) AND c.name = value -> 2 ->> 1
