-- $1: JSON, one object a key; bytes are in hex.
INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, parent_id, name, prefix,
                  scopes, expires_at, ip_allowlist, metadata, rate_limit, rate_window_seconds,
                  quota_limit, created_at, name_folded)
SELECT id, uuid, decode(hash, 'hex'), organisation_id, environment_id, created_by, parent_id, name,
       prefix, scopes, expires_at, ip_allowlist, metadata, rate_limit, rate_window_seconds,
       quota_limit, created_at, name_folded
FROM jsonb_to_recordset(CAST($1 AS jsonb))
       AS k (id BIGINT, uuid UUID, hash TEXT, organisation_id BIGINT, environment_id BIGINT, created_by
             BIGINT, parent_id BIGINT, name TEXT, prefix TEXT, scopes TEXT, expires_at BIGINT,
             ip_allowlist TEXT, metadata TEXT, rate_limit BIGINT, rate_window_seconds BIGINT,
             quota_limit BIGINT, created_at BIGINT, name_folded TEXT)
