-- Accepts only a position of the current log: the database may have been restored since the node read it.
-- Does not wait for the disk: a lost acknowledgement makes other nodes wait, and does no other harm.
WITH acknowledged AS (
  UPDATE nodes SET heard = $2
  WHERE id = $1
    AND (EXISTS (SELECT 1 FROM changes_last WHERE number = $2 AND token = $3)
         OR EXISTS (SELECT 1 FROM changes WHERE number = $2 AND token = $3))
  RETURNING id
)
SELECT set_config('synchronous_commit', 'off', TRUE),
       pg_notify('latchkey_' || hashtext(current_schema()), 'acknowledged')
FROM acknowledged
