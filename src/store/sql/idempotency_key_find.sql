SELECT event_uuid, accepted_at FROM idempotency_keys WHERE source_id = $1 AND text = $2
