UPDATE sessions SET data = $2 WHERE id_hash = $1
