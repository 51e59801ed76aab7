-- One of several calls gets it.
DELETE FROM invitations WHERE id = $1 AND token_hash = $2 AND expires_at > $3
  AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = invitations.created_by AND u.disabled_at IS NOT NULL)
RETURNING role
