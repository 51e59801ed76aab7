-- $1: JSON, one object for each key: its id, its requests, the moment of the last one. A count saturates.
-- Every transaction locks keys in the order of their ids.
UPDATE keys
SET request_count = least(request_count, 9223372036854775807 - greatest(used.requests, 0)) + used.requests,
    last_used_at = greatest(last_used_at, used.at)
FROM (SELECT k.id, u.requests, u.at
      FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS u (id BIGINT, requests BIGINT, at BIGINT)
      JOIN keys k ON k.id = u.id
      ORDER BY k.id
      FOR NO KEY UPDATE OF k) AS used
WHERE keys.id = used.id
