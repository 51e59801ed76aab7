INSERT INTO write_probes (id, written_at) VALUES (1, $1)
ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at
