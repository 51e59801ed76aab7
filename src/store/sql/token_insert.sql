INSERT INTO tokens (hash, family_id, kind, expires_at) VALUES ($1, $2, $3, $4)
