-- $1: JSON, the hashes in hex. An array, so that each is looked for in the index, however many there are.
SELECT * FROM keys_in_context
WHERE hash = ANY (ARRAY(SELECT decode(value, 'hex') FROM jsonb_array_elements_text(CAST($1 AS jsonb)) AS value))
