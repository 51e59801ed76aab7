DELETE FROM organisations WHERE id = $1 AND deleted_at IS NOT NULL
