-- Locks the row without a change, so that the key cannot be revoked or paused before the transaction ends.
UPDATE keys SET parent_id = parent_id
WHERE id = $1 AND revoked_at IS NULL AND disabled_at IS NULL
