INSERT INTO token_families (id, user_id, organisation_id, created_at) VALUES ($1, $2, $3, $4)
