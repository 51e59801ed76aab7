-- The key itself, and its descendants that are not revoked.
-- SQLite has one writer, so there is nothing to lock.
WITH RECURSIVE family (id) AS (
  SELECT CAST($1 AS BIGINT)
  UNION
  SELECT k.id FROM family f JOIN keys k ON k.parent_id = f.id)
SELECT id, hash, name, prefix FROM keys WHERE id IN (SELECT id FROM family) AND (revoked_at IS NULL OR id = $1) ORDER BY id
