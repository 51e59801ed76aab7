-- Never run: a SQLite file has one server, which is no node. Means the same as node_renew.postgres.sql.
UPDATE nodes
SET renewals = renewals + 1,
    redis = $3,
    redis_identity = $4,
    heard = CASE
      WHEN EXISTS (SELECT 1 FROM changes_last WHERE number = $2 AND token = $5)
           OR EXISTS (SELECT 1 FROM changes WHERE number = $2 AND token = $5) THEN $2
      ELSE heard
    END
WHERE id = $1
RETURNING renewals, 0 AS server_began
