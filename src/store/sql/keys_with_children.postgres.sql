-- $1: JSON, the ids.
SELECT DISTINCT parent_id FROM keys
WHERE parent_id = ANY (ARRAY(SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb)) AS value))
