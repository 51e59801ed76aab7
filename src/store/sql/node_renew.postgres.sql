-- What the node has heard counts only if it is a position of this very log. When the server began tells one
-- PostgreSQL from another that took its place.
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
