-- $1: JSON, one object a key and address, as they were noted; $2: how many each key keeps.
DELETE FROM key_addresses
WHERE (key_id, address) IN (
  SELECT key_id, address
  FROM (SELECT key_id, address,
               row_number() OVER (PARTITION BY key_id ORDER BY last_used_at DESC, address) AS place
        FROM key_addresses
        WHERE key_id IN (SELECT value ->> 'key' FROM json_each($1))) AS placed
  WHERE place > $2)
