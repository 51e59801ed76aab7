-- $1: JSON, an array for each key: source's id, text, the event's id in hex, moment. $2: the time in which a key
-- belongs to its event. A key of another event is written unchanged, so that it is returned. The order does not matter,
-- because the transaction has locked the source.
INSERT INTO idempotency_keys AS i (source_id, text, event_uuid, accepted_at)
SELECT CAST(value ->> 0 AS BIGINT), value ->> 1, CAST(value ->> 2 AS UUID), CAST(value ->> 3 AS BIGINT)
FROM jsonb_array_elements(CAST($1 AS jsonb)) AS k (value)
ON CONFLICT (source_id, text) DO UPDATE SET
  event_uuid = CASE WHEN i.accepted_at <= excluded.accepted_at - $2 THEN excluded.event_uuid ELSE i.event_uuid END,
  accepted_at = CASE WHEN i.accepted_at <= excluded.accepted_at - $2 THEN excluded.accepted_at ELSE i.accepted_at END
RETURNING source_id, text, event_uuid, accepted_at
