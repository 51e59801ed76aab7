DELETE FROM known_networks WHERE signed_in_at <= $1
