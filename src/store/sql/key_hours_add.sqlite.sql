-- $1: JSON, one object a key, hour and outcome.
INSERT INTO key_hours (key_id, hour, code, count)
SELECT value ->> 'key', value ->> 'hour', value ->> 'code', value ->> 'count' FROM json_each($1) WHERE TRUE
ON CONFLICT (key_id, hour, code) DO UPDATE SET count = key_hours.count + excluded.count
