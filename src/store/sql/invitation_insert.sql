INSERT INTO invitations (id, organisation_id, email, role, token_hash, created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
