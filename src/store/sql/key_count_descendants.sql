-- UNION drops repeated rows, so the recursion ends for any rows.
WITH RECURSIVE family (id) AS (
  SELECT CAST($1 AS BIGINT)
  UNION
  SELECT k.id FROM family f JOIN keys k ON k.parent_id = f.id)
SELECT count(*) FROM keys WHERE id IN (SELECT id FROM family) AND id <> $1 AND revoked_at IS NULL
