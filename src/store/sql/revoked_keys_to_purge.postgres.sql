-- $1: revoked before this moment; $2: now; $3: the largest number. Keeps a key while one of its events may be stored,
-- or a key that it created. Every transaction locks keys in the order of their ids.
SELECT id FROM keys WHERE id IN (
  SELECT k.id
  FROM organisations o
  JOIN keys k ON k.organisation_id = o.id
  JOIN environments e ON e.id = k.environment_id
  WHERE o.revoked_count > 0
    AND k.revoked_at IS NOT NULL AND k.revoked_at < $1 AND k.revoked_at < $2 - (e.event_days + 1) * 86400000
    AND NOT EXISTS (SELECT 1 FROM keys c WHERE c.parent_id = k.id)
  LIMIT $3)
ORDER BY id
FOR UPDATE
