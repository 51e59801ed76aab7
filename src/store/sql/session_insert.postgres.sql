-- $5: the verified password hash. The lock on the user's row waits for a running password reset and then sees the new
-- hash; a later reset waits for this session, and then ends it. The lock of a foreign key does neither.
INSERT INTO sessions (id_hash, user_id, data, created_at, seen_at)
SELECT $1, id, $3, $4, $4 FROM users WHERE id = $2 AND password_hash = $5 AND disabled_at IS NULL FOR SHARE
