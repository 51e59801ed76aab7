INSERT INTO sessions (id_hash, user_id, data, created_at, seen_at) VALUES ($1, $2, $3, $4, $4)
