SELECT id, email, role, created_at, expires_at FROM invitations WHERE id = $1 AND organisation_id = $2 AND expires_at > $3
