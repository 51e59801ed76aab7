-- $1: JSON, one object for each key, hour and outcome. A count saturates.
INSERT INTO key_hours (key_id, hour, code, count)
SELECT key, hour, code, count
FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS h (key BIGINT, hour BIGINT, code TEXT, count BIGINT)
ORDER BY key, hour, code
ON CONFLICT (key_id, hour, code) DO UPDATE
SET count = least(key_hours.count, 9223372036854775807 - greatest(excluded.count, 0)) + excluded.count
