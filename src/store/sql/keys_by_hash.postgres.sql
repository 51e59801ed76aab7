-- $1: JSON, the hashes in hex.
SELECT * FROM keys_in_context
WHERE hash IN (SELECT decode(value, 'hex') FROM jsonb_array_elements_text(CAST($1 AS jsonb)) AS value)
