-- $1: JSON, one object for each key and address.
INSERT INTO key_addresses (key_id, address, last_used_at)
SELECT value ->> 'key', value ->> 'address', value ->> 'at' FROM json_each($1) WHERE TRUE
ON CONFLICT (key_id, address) DO UPDATE SET last_used_at = max(key_addresses.last_used_at, excluded.last_used_at)
