UPDATE jobs SET claim = NULL, due_at = $3, attempts = 0, last_error = NULL WHERE id = $1 AND claim = $2
