-- $1: JSON, one object a key; bytes are in hex.
-- Materialised, because `json_each` writes a row's JSON out anew wherever `value` stands.
WITH rows AS MATERIALIZED (SELECT value FROM json_each($1))
INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, parent_id, name, prefix,
                  scopes, expires_at, ip_allowlist, metadata, rate_limit, rate_window_seconds,
                  quota_limit, created_at, name_folded)
SELECT value ->> 'id', unhex(value ->> 'uuid'), unhex(value ->> 'hash'), value ->> 'organisation_id',
       value ->> 'environment_id', value ->> 'created_by', value ->> 'parent_id', value ->> 'name',
       value ->> 'prefix', value ->> 'scopes', value ->> 'expires_at', value ->> 'ip_allowlist',
       value ->> 'metadata', value ->> 'rate_limit', value ->> 'rate_window_seconds', value ->> 'quota_limit',
       value ->> 'created_at', value ->> 'name_folded'
FROM rows
-- With $2, which organisation they are for: only if the statement before has counted them.
WHERE $2 IS NULL OR changes() = 1
