UPDATE keys
SET name = $2, scopes = $3, expires_at = $4, ip_allowlist = $5, metadata = $6, rate_limit = $7,
    rate_window_seconds = $8, quota_limit = $9, disabled_at = $10, name_folded = $11
WHERE id = $1 AND revoked_at IS NULL
