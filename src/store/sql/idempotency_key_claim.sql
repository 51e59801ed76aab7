INSERT INTO idempotency_keys (source_id, text, event_uuid, accepted_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (source_id, text) DO UPDATE SET event_uuid = excluded.event_uuid, accepted_at = excluded.accepted_at
WHERE idempotency_keys.accepted_at <= $5
