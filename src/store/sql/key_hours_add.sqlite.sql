-- $1: JSON, one object for each key, hour and outcome. A count saturates.
INSERT INTO key_hours (key_id, hour, code, count)
SELECT value ->> 'key', value ->> 'hour', value ->> 'code', value ->> 'count' FROM json_each($1) WHERE TRUE
ON CONFLICT (key_id, hour, code) DO UPDATE
SET count = min(key_hours.count, 9223372036854775807 - max(excluded.count, 0)) + excluded.count
