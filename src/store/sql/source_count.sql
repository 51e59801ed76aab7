UPDATE sources SET event_count = event_count + $2 WHERE id = $1
