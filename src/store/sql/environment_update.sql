UPDATE environments SET name = $2, archived_at = $3 WHERE id = $1
