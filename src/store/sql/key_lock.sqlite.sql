-- Whoever writes is alone: nothing to lock.
SELECT 1 FROM keys WHERE id = $1
