-- $5: the password hash that was verified. The lock on the user's row waits for a password reset that has begun and
-- then sees the new hash; a reset that begins later waits for this session, and then ends it. The lock that a foreign
-- key takes does neither.
INSERT INTO sessions (id_hash, user_id, data, created_at, seen_at)
SELECT $1, id, $3, $4, $4 FROM users WHERE id = $2 AND password_hash = $5 FOR SHARE
