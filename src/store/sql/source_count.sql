UPDATE sources SET event_count = event_count + $2, event_bytes = event_bytes + $3 WHERE id = $1
