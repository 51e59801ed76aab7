SELECT id, name, version, sole, process, started_at, renewals, heard, redis, redis_identity
FROM nodes ORDER BY started_at, id
