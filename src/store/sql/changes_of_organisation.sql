SELECT number, organisation_id, key_id, hash, revoked, token, previous, organisation_number
FROM changes
WHERE organisation_id = $1 AND organisation_number > $2 AND number <= $3
ORDER BY organisation_number
LIMIT $4
