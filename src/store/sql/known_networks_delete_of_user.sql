DELETE FROM known_networks WHERE user_id = $1
