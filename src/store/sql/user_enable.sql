UPDATE users SET disabled_at = NULL WHERE id = $1 AND disabled_at IS NOT NULL
