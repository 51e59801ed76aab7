-- $5: the verified password hash.
INSERT INTO token_families (id, user_id, organisation_id, created_at)
SELECT $1, id, $3, $4 FROM users WHERE id = $2 AND password_hash = $5 AND disabled_at IS NULL
