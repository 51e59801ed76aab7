-- $1: keys up to this moment are expired. $2: the largest number.
DELETE FROM idempotency_keys
WHERE (source_id, text) IN (SELECT source_id, text FROM idempotency_keys WHERE accepted_at <= $1 LIMIT $2)
