SELECT id, name FROM keys WHERE name_folded IS NULL ORDER BY id LIMIT $1
