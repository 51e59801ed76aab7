-- $1: JSON, one object a key.
UPDATE keys
SET name_folded = f.folded
FROM (SELECT value ->> 'id' AS id, value ->> 'name' AS name, value ->> 'folded' AS folded FROM json_each($1)) AS f
WHERE keys.id = f.id AND keys.name = f.name
