-- $1: JSON, one object for each stored key and address; $2: the number of addresses that a key keeps.
DELETE FROM key_addresses
WHERE (key_id, address) IN (
  SELECT key_id, address
  FROM (SELECT key_id, address,
               row_number() OVER (PARTITION BY key_id ORDER BY last_used_at DESC, address) AS place
        FROM key_addresses
        WHERE key_id IN (SELECT key FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS a (key BIGINT))) AS placed
  WHERE place > $2)
