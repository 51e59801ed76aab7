-- $1: JSON, one object a key. Of another month, it is of no use to anybody.
-- The rows are locked in the order of their ids, as everybody locks keys.
UPDATE keys
SET quota_used = quota_used - given.requests
FROM (SELECT k.id, g.requests
      FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS g (id BIGINT, month BIGINT, requests BIGINT)
      JOIN keys k ON k.id = g.id AND k.quota_month = g.month AND k.quota_used >= g.requests
      ORDER BY k.id
      FOR NO KEY UPDATE OF k) AS given
WHERE keys.id = given.id
