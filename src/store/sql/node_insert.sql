INSERT INTO nodes (id, name, version, sole, process, started_at, renewals, heard, redis, redis_identity)
VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8, $9)
