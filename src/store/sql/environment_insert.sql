INSERT INTO environments (id, organisation_id, name, mode, created_at) VALUES ($1, $2, $3, $4, $5)
