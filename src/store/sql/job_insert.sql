INSERT INTO jobs (id, kind, payload, created_at, due_at) VALUES ($1, $2, $3, $4, $5)
