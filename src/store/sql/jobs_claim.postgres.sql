-- $1: the kind; $2: the time; $3: the claim; $4: the end of its lease; $5: the largest number. The array makes
-- PostgreSQL choose the rows once. A row that another node claims at this moment is skipped.
UPDATE jobs SET claim = $3, due_at = $4, attempts = attempts + 1
WHERE id = ANY (ARRAY(
  SELECT id FROM jobs WHERE kind = $1 AND due_at <= $2 AND ended_at IS NULL ORDER BY due_at LIMIT $5 FOR UPDATE SKIP LOCKED
))
RETURNING id, interval_ms, payload, attempts
