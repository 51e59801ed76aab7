INSERT INTO users (id, email, password_hash, created_at, operator) VALUES ($1, $2, $3, $4, $5)
