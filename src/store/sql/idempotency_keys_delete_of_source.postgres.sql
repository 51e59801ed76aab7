-- Deletes keys of one source with deleted events. $1: the source; $2: before this moment; $3: the largest number.
-- Skips a key that is being claimed: waiting for it could deadlock, because the claim may wait for a deleted key.
DELETE FROM idempotency_keys
WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM idempotency_keys WHERE source_id = $1 AND accepted_at < $2 LIMIT $3 FOR UPDATE SKIP LOCKED
))
