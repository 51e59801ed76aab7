-- $1: JSON, an array for each event: id in hex, organisation, source's id, key, moment, and the position of the body
-- in $2, counted from 1, and its length. $2: all bodies, unchanged.
-- Materialised, because `json_each` serializes a row again for each use of `value`.
WITH rows AS MATERIALIZED (SELECT value FROM json_each($1))
INSERT INTO events (uuid, organisation_id, source_id, key_id, received_at, body)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, substr($2, value ->> 5, value ->> 6)
FROM rows
