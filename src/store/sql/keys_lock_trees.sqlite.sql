-- Whoever writes is alone: nothing to lock.
SELECT 1 WHERE $1 IS NULL
