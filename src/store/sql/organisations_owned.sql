SELECT count(*) FROM memberships WHERE user_id = $1 AND role = $2
