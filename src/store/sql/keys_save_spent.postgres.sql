-- $1: JSON, one object for each key.
-- Every transaction locks keys in the order of their ids.
UPDATE keys
SET rate_until = spent.rate_until, quota_month = spent.quota_month, quota_used = spent.quota_used
FROM (SELECT k.id, s.rate_until, s.quota_month, s.quota_used
      FROM jsonb_to_recordset(CAST($1 AS jsonb))
             AS s (id BIGINT, rate_until BIGINT, quota_month BIGINT, quota_used BIGINT)
      JOIN keys k ON k.id = s.id
      ORDER BY k.id
      FOR NO KEY UPDATE OF k) AS spent
WHERE keys.id = spent.id
