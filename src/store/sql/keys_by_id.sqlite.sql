-- $1: JSON, the ids.
SELECT * FROM keys_in_context WHERE id IN (SELECT value FROM json_each($1))
