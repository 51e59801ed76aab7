-- $1: keys up to this moment are expired. $2: the largest number.
-- Skips a key that is being claimed: waiting for it could deadlock, because the claim may wait for a deleted key.
DELETE FROM idempotency_keys
WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM idempotency_keys WHERE accepted_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
))
