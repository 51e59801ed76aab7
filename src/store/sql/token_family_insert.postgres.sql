-- $5: the verified password hash. The lock works as in session_insert.postgres.sql.
INSERT INTO token_families (id, user_id, organisation_id, created_at)
SELECT $1, id, $3, $4 FROM users WHERE id = $2 AND password_hash = $5 AND disabled_at IS NULL FOR SHARE
