-- $1: JSON, the ids of keys that are about to be deleted.
INSERT INTO revoked_hashes (hash)
SELECT hash FROM keys WHERE id IN (SELECT value FROM json_each($1))
