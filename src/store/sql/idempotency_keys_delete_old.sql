DELETE FROM idempotency_keys WHERE accepted_at <= $1
