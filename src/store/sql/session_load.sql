SELECT data, seen_at FROM sessions WHERE id_hash = $1 AND created_at > $2 AND seen_at > $3
