-- The invitation of the same address, and those that are over.
DELETE FROM invitations WHERE organisation_id = $1 AND (email = $2 OR expires_at <= $3) RETURNING id, email
