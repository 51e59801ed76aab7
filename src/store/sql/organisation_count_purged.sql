-- A page within a list moves as when a key gets another name.
UPDATE organisations
SET key_count = key_count - $2, revoked_count = revoked_count - $2, rename_count = rename_count + 1
WHERE id = $1
