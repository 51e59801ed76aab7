-- $1: JSON, an array for each key: source's id, text, the event's id in hex, moment. $2: the time in which a key
-- belongs to its event. A key of another event is written unchanged, so that it is returned.
INSERT INTO idempotency_keys (source_id, text, event_uuid, accepted_at)
SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3
FROM json_each($1)
WHERE true -- Without WHERE, SQLite would parse ON CONFLICT as part of a join.
ON CONFLICT (source_id, text) DO UPDATE SET
  event_uuid = iif(accepted_at <= excluded.accepted_at - $2, excluded.event_uuid, event_uuid),
  accepted_at = iif(accepted_at <= excluded.accepted_at - $2, excluded.accepted_at, accepted_at)
RETURNING source_id, text, event_uuid, accepted_at
