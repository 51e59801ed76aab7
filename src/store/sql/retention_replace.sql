UPDATE environments SET event_days = $4, event_limit = $5
WHERE id = $1 AND event_days = $2 AND event_limit = $3
