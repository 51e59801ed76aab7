-- $1: JSON, the hashes in hex. The array makes PostgreSQL use the index for any number of hashes.
SELECT * FROM keys_in_context
WHERE hash = ANY (ARRAY(SELECT decode(value, 'hex') FROM jsonb_array_elements_text(CAST($1 AS jsonb)) AS value))
