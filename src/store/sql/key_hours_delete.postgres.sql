-- $1: JSON, the ids of the keys.
DELETE FROM key_hours WHERE key_id IN (SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb)))
