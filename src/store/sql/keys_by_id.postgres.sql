-- $1: JSON, the ids.
SELECT * FROM keys_in_context
WHERE id = ANY (ARRAY(SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb)) AS value))
