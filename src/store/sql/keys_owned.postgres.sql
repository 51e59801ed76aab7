-- $2: JSON, the ids.
SELECT id FROM keys
WHERE organisation_id = $1
  AND id = ANY (ARRAY(SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($2 AS jsonb)) AS value))
