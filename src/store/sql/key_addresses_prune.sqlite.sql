-- $1: JSON, one object for each stored key and address; $2: the number of addresses that a key keeps.
DELETE FROM key_addresses
WHERE (key_id, address) IN (
  SELECT key_id, address
  FROM (SELECT key_id, address,
               row_number() OVER (PARTITION BY key_id ORDER BY last_used_at DESC, address) AS place
        FROM key_addresses
        WHERE key_id IN (SELECT value ->> 'key' FROM json_each($1))) AS placed
  WHERE place > $2)
