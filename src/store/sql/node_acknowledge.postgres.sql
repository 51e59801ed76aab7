-- Only what is a position of this very log: the database may have gone back since the node read it.
-- Without waiting for the disk: an acknowledgement that is lost makes others wait, and harms nobody.
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
