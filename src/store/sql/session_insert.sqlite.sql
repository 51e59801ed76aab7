-- $5: the verified password hash.
INSERT INTO sessions (id_hash, user_id, data, created_at, seen_at)
SELECT $1, id, $3, $4, $4 FROM users WHERE id = $2 AND password_hash = $5 AND disabled_at IS NULL
