-- Changes nothing: it locks the row, so that the key cannot end before the transaction does.
UPDATE keys SET parent_id = parent_id
WHERE id = $1 AND revoked_at IS NULL AND disabled_at IS NULL
