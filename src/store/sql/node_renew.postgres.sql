-- Accepts an acknowledgement only if it is a position of the current log. The start time of the server tells a
-- PostgreSQL server from its replacement.
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
RETURNING renewals, CAST(EXTRACT(EPOCH FROM pg_postmaster_start_time()) * 1000000 AS BIGINT) AS server_began
