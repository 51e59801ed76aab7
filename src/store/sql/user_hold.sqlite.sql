-- Whoever writes is alone: nothing to lock.
SELECT id FROM users WHERE id = $1
