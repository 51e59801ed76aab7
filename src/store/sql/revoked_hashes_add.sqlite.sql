-- $1: JSON, the ids of the keys that will be deleted.
INSERT INTO revoked_hashes (hash)
SELECT hash FROM keys WHERE id IN (SELECT value FROM json_each($1))
