-- $1: JSON, the ids of the keys that will be deleted.
INSERT INTO revoked_hashes (hash)
SELECT hash FROM keys WHERE id IN (SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb)))
