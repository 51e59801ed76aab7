-- $1: the kind; $2: the time; $3: the claim; $4: the end of its lease; $5: the largest number.
UPDATE jobs SET claim = $3, due_at = $4, attempts = attempts + 1
WHERE id IN (
  SELECT id FROM jobs WHERE kind = $1 AND due_at <= $2 AND ended_at IS NULL ORDER BY due_at LIMIT $5
)
RETURNING id, interval_ms, payload, attempts
