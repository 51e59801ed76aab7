SELECT body FROM events WHERE organisation_id = $1 AND uuid = $2
