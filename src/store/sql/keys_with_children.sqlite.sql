-- $1: JSON, the ids.
SELECT DISTINCT parent_id FROM keys WHERE parent_id IN (SELECT value FROM json_each($1))
