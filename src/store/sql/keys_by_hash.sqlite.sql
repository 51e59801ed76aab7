-- $1: JSON, the hashes in hex.
SELECT * FROM keys_in_context WHERE hash IN (SELECT unhex(value) FROM json_each($1))
