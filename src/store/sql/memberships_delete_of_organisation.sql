DELETE FROM memberships WHERE organisation_id = $1
