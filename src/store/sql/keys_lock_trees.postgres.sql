-- $1: JSON, ids of keys. Locks the tree of each until the transaction ends. A transaction that adds a key below
-- another, or reads the keys below a key to change them, needs this lock. The order of the ids prevents deadlocks.
WITH RECURSIVE ancestors (id, parent_id) AS (
  SELECT id, parent_id FROM keys
  WHERE id = ANY (ARRAY(SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb)) AS value))
  UNION
  SELECT k.id, k.parent_id FROM ancestors a JOIN keys k ON k.id = a.parent_id)
SELECT count(pg_advisory_xact_lock(id)) FROM (SELECT id FROM ancestors WHERE parent_id IS NULL ORDER BY id) AS roots
