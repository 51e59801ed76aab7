-- Deletes keys of one source with deleted events. $1: the source; $2: before this moment; $3: the largest number.
DELETE FROM idempotency_keys
WHERE (source_id, text) IN (SELECT source_id, text FROM idempotency_keys WHERE source_id = $1 AND accepted_at < $2 LIMIT $3)
