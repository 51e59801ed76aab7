-- Returns the user of the session, if it existed.
DELETE FROM sessions WHERE id_hash = $1
RETURNING user_id, (SELECT u.email FROM users u WHERE u.id = sessions.user_id) AS email
