SELECT id FROM sources WHERE environment_id = $1
