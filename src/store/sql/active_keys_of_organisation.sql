-- $1: the key after which the page begins.
SELECT id, uuid, hash FROM keys WHERE uuid > $1 AND organisation_id = $3 AND revoked_at IS NULL ORDER BY uuid LIMIT $2
