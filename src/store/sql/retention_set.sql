UPDATE environments SET event_days = $2, event_limit = $3 WHERE id = $1
