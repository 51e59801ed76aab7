-- $1: from then on a key is nobody's. $2: how many at the most.
-- One that is being claimed is left alone: who waits for it and has deleted others may be waited for by the claim.
DELETE FROM idempotency_keys
WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM idempotency_keys WHERE accepted_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
))
