-- Of an environment nobody keeps how often something was renamed, and nobody asks.
SELECT count(*) AS keys, count(revoked_at) AS revoked, CAST(0 AS BIGINT) AS renames
FROM keys WHERE environment_id = $1
