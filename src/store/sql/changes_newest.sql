SELECT number, organisation_id, key_id, hash, revoked FROM changes ORDER BY number DESC LIMIT $1
