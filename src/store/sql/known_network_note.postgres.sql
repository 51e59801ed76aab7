-- $4: the verified password hash. The lock works as in session_insert.postgres.sql.
INSERT INTO known_networks (user_id, network, signed_in_at)
SELECT id, $2, $3 FROM users WHERE id = $1 AND password_hash = $4 FOR SHARE
ON CONFLICT (user_id, network) DO UPDATE SET signed_in_at = excluded.signed_in_at
