INSERT INTO sources (id, environment_id, name, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (environment_id, name) DO UPDATE SET name = excluded.name
RETURNING id
