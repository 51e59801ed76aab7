-- $1: JSON, the ids of the keys.
DELETE FROM key_addresses WHERE key_id IN (SELECT value FROM json_each($1))
