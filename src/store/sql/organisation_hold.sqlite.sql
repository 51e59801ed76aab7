-- Whoever writes is alone: nothing to lock.
SELECT name FROM organisations WHERE id = $1 AND deleted_at IS NULL
