UPDATE jobs SET claim = NULL, due_at = $3, last_error = $4 WHERE id = $1 AND claim = $2
