UPDATE jobs SET claim = NULL, outcome = 'done', ended_at = $3, payload = 'null', last_error = NULL WHERE id = $1 AND claim = $2
