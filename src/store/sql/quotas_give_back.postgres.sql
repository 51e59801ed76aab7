-- $1: JSON, one object for each key. Parts of another month are ignored.
-- Every transaction locks keys in the order of their ids.
UPDATE keys
SET quota_used = quota_used - given.requests
FROM (SELECT k.id, g.requests
      FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS g (id BIGINT, month BIGINT, requests BIGINT)
      JOIN keys k ON k.id = g.id AND k.quota_month = g.month AND k.quota_used >= g.requests
      ORDER BY k.id
      FOR NO KEY UPDATE OF k) AS given
WHERE keys.id = given.id
