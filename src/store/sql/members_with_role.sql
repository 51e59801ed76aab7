SELECT count(*) FROM memberships WHERE organisation_id = $1 AND role = $2
