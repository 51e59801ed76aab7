UPDATE nodes SET heard = $2 WHERE id = $1
