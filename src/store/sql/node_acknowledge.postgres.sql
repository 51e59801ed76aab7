-- Without waiting for the disk: an acknowledgement that is lost makes others wait, and harms nobody.
WITH acknowledged AS (UPDATE nodes SET heard = $2 WHERE id = $1 RETURNING id)
SELECT set_config('synchronous_commit', 'off', TRUE),
       pg_notify('latchkey_' || hashtext(current_schema()), 'acknowledged')
FROM acknowledged
