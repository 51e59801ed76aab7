-- $1: JSON, the ids of the keys.
DELETE FROM keys WHERE id IN (SELECT value FROM json_each($1)) RETURNING organisation_id
