SELECT event_days, event_limit FROM environments WHERE id = $1
