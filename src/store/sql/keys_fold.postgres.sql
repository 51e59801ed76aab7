-- $1: JSON, one object a key. The rows are locked in the order of their ids, as everybody locks keys.
UPDATE keys
SET name_folded = folded.folded
FROM (SELECT k.id, f.folded
      FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS f (id BIGINT, name TEXT, folded TEXT)
      JOIN keys k ON k.id = f.id AND k.name = f.name
      ORDER BY k.id
      FOR NO KEY UPDATE OF k) AS folded
WHERE keys.id = folded.id
