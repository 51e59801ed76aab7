-- $1: JSON, the ids. Whoever writes is alone: nothing to lock.
SELECT id, hash, name, prefix FROM keys
WHERE id IN (SELECT value FROM json_each($1)) AND revoked_at IS NULL
ORDER BY id
