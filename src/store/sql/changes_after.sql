SELECT number, organisation_id, key_id, hash, revoked FROM changes WHERE number > $1 ORDER BY number LIMIT $2
