-- $1: JSON, an array an event: id in hex, organisation, source's id, key, moment, and where in $2 the body begins,
-- counted from 1, and how long it is. $2: all bodies, as they came.
-- Materialised, because `json_each` writes a row's JSON out anew wherever `value` stands.
WITH rows AS MATERIALIZED (SELECT value FROM json_each($1))
INSERT INTO events (uuid, organisation_id, source_id, key_id, received_at, body)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, substr($2, value ->> 5, value ->> 6)
FROM rows
