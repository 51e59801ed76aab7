SELECT address, last_used_at FROM key_addresses WHERE key_id = $1 ORDER BY last_used_at DESC, address
