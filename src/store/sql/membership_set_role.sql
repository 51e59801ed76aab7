UPDATE memberships SET role = $3 WHERE user_id = $1 AND organisation_id = $2
