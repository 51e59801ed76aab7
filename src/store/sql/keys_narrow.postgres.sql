-- $1: JSON, one object a key.
UPDATE keys
SET scopes = n.scopes,
    expires_at = n.expires_at,
    ip_allowlist = n.ip_allowlist,
    rate_limit = n.rate_limit,
    rate_window_seconds = n.rate_window_seconds,
    quota_limit = n.quota_limit,
    disabled_at = n.disabled_at
FROM jsonb_to_recordset(CAST($1 AS jsonb))
       AS n (id BIGINT, scopes TEXT, expires_at BIGINT, ip_allowlist TEXT, rate_limit BIGINT,
             rate_window_seconds BIGINT, quota_limit BIGINT, disabled_at BIGINT)
WHERE keys.id = n.id
