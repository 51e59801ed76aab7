-- Of one source, because their events are gone. $1: the source; $2: before this moment; $3: how many at the most.
-- One that is being claimed is left alone: who waits for it and has deleted others may be waited for by the claim.
DELETE FROM idempotency_keys
WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM idempotency_keys WHERE source_id = $1 AND accepted_at < $2 LIMIT $3 FOR UPDATE SKIP LOCKED
))
