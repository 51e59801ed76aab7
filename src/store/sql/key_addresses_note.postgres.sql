-- $1: JSON, one object for each key and address.
INSERT INTO key_addresses (key_id, address, last_used_at)
SELECT key, address, at
FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS a (key BIGINT, address TEXT, at BIGINT)
ORDER BY key, address
ON CONFLICT (key_id, address) DO UPDATE SET last_used_at = greatest(key_addresses.last_used_at, excluded.last_used_at)
