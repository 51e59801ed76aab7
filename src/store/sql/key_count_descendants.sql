-- UNION drops what was seen before, so this ends whatever the rows say.
WITH RECURSIVE family (id) AS (
  SELECT CAST($1 AS BIGINT)
  UNION
  SELECT k.id FROM family f JOIN keys k ON k.parent_id = f.id)
SELECT count(*) FROM keys WHERE id IN (SELECT id FROM family) AND id <> $1 AND revoked_at IS NULL
