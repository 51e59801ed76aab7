-- Held until the transaction ends: members, environments and the number of keys do not change beside it.
SELECT name FROM organisations WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE
