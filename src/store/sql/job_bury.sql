-- A dead job keeps its payload, so that an operator sees its purpose.
UPDATE jobs SET claim = NULL, outcome = 'dead', ended_at = $3, last_error = $4 WHERE id = $1 AND claim = $2
