DELETE FROM known_networks
WHERE user_id = $1
  AND network NOT IN (SELECT network FROM known_networks WHERE user_id = $1 ORDER BY signed_in_at DESC, network LIMIT $2)
