-- $1: JSON, the ids.
UPDATE keys SET revoked_at = $2, revoked_by = $3
WHERE id IN (SELECT value FROM json_each($1)) AND revoked_at IS NULL
