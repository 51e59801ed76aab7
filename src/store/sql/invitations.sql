-- $2, $3: the moment and the invitation after which the page begins; $5: now.
SELECT id, email, role, created_at, expires_at
FROM invitations
WHERE organisation_id = $1 AND (created_at, id) > ($2, $3) AND expires_at > $5
ORDER BY created_at, id
LIMIT $4
