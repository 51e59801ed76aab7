-- $1: JSON, one object a key: its id, its requests, the last one's moment.
UPDATE keys
SET request_count = request_count + used.requests,
    last_used_at = greatest(last_used_at, used.at)
FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS used (id BIGINT, requests BIGINT, at BIGINT)
WHERE keys.id = used.id
