-- $1: JSON, the ids. Locked in their order, as everybody locks keys.
SELECT id, hash, name, prefix FROM keys
WHERE id = ANY (ARRAY(SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb)) AS value))
  AND revoked_at IS NULL
ORDER BY id
FOR UPDATE
