INSERT INTO organisations (id, uuid, name, created_at) VALUES ($1, $2, $3, $4)
