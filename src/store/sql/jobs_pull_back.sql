-- $2: the longest delay of a retry; $3: the length of a lease. Only a wrong clock postpones a job further.
UPDATE jobs SET due_at = $1
WHERE ended_at IS NULL
  AND (interval_ms IS NOT NULL OR attempts > 0)
  AND due_at > $1 + COALESCE(interval_ms, $2) + $3
