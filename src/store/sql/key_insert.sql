INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, parent_id, name, prefix,
                  scopes, expires_at, ip_allowlist, metadata, rate_limit, rate_window_seconds,
                  quota_limit, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
