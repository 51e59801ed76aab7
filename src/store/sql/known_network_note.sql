INSERT INTO known_networks (user_id, network, signed_in_at) VALUES ($1, $2, $3)
ON CONFLICT (user_id, network) DO UPDATE SET signed_in_at = excluded.signed_in_at
