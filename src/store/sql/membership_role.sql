SELECT role FROM memberships WHERE user_id = $1 AND organisation_id = $2
