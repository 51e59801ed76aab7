DELETE FROM token_families WHERE organisation_id = $1
