-- $1: from then on a key is nobody's. $2: how many at the most.
DELETE FROM idempotency_keys
WHERE (source_id, text) IN (SELECT source_id, text FROM idempotency_keys WHERE accepted_at <= $1 LIMIT $2)
