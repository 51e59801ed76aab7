-- $1: JSON, the ids.
UPDATE keys SET revoked_at = $2, revoked_by = $3
WHERE id = ANY (ARRAY(SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb)) AS value))
  AND revoked_at IS NULL
