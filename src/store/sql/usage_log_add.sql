INSERT INTO usage_log (part, uses) VALUES ($1, $2)
