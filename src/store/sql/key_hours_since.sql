SELECT hour, code, count FROM key_hours WHERE key_id = $1 AND hour >= $2 ORDER BY hour, code
