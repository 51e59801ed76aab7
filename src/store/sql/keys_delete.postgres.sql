-- $1: JSON, the ids of the keys.
DELETE FROM keys WHERE id IN (SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb))) RETURNING organisation_id
