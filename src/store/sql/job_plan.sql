-- $3: the interval of a periodic job. An existing job keeps its due time.
INSERT INTO jobs (id, kind, interval_ms, payload, created_at, due_at) VALUES ($1, $2, $3, 'null', $4, $4)
ON CONFLICT (kind) WHERE interval_ms IS NOT NULL
DO UPDATE SET interval_ms = excluded.interval_ms WHERE jobs.interval_ms <> excluded.interval_ms
