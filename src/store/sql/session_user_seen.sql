UPDATE users SET seen_at = $2
WHERE id = (SELECT user_id FROM sessions WHERE id_hash = $1) AND (seen_at IS NULL OR seen_at < $2)
