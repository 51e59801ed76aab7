-- $1: JSON, one object for each key: its id, its requests, the moment of the last one. A count saturates.
UPDATE keys
SET request_count = min(request_count, 9223372036854775807 - max(used.requests, 0)) + used.requests,
    last_used_at = max(coalesce(last_used_at, 0), used.at)
FROM (SELECT value ->> 'id' AS id, value ->> 'requests' AS requests, value ->> 'at' AS at
      FROM json_each($1)) AS used
WHERE keys.id = used.id
