SELECT MAX(number) FROM changes WHERE key_id = $1
