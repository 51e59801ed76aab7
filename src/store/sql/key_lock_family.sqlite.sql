-- Whoever writes is alone: nothing to lock.
SELECT id, hash FROM keys WHERE id = $1 OR parent_id = $1 ORDER BY id
