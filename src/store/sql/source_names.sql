SELECT name FROM sources WHERE environment_id = $1 ORDER BY name LIMIT $2
