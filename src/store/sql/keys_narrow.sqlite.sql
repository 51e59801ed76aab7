-- $1: JSON, one object a key.
UPDATE keys
SET scopes = n.scopes,
    expires_at = n.expires_at,
    ip_allowlist = n.ip_allowlist,
    rate_limit = n.rate_limit,
    rate_window_seconds = n.rate_window_seconds,
    quota_limit = n.quota_limit,
    disabled_at = n.disabled_at
FROM (SELECT value ->> 'id' AS id, value ->> 'scopes' AS scopes,
             value ->> 'expires_at' AS expires_at,
             value ->> 'ip_allowlist' AS ip_allowlist,
             value ->> 'rate_limit' AS rate_limit,
             value ->> 'rate_window_seconds' AS rate_window_seconds,
             value ->> 'quota_limit' AS quota_limit,
             value ->> 'disabled_at' AS disabled_at
      FROM json_each($1)) AS n
WHERE keys.id = n.id
