-- $2: the longest time to another attempt; $3: the length of a lease. Only a clock that was wrong puts a job further off.
UPDATE jobs SET due_at = $1
WHERE ended_at IS NULL
  AND (interval_ms IS NOT NULL OR attempts > 0)
  AND due_at > $1 + COALESCE(interval_ms, $2) + $3
