-- One of several calls gets it.
DELETE FROM invitations WHERE id = $1 AND token_hash = $2 AND expires_at > $3 RETURNING role
