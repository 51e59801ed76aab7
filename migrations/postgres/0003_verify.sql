-- Verify: what a key has spent of its limits, and what became of its requests.

-- What was last written down; the server that counts knows better.
ALTER TABLE keys ADD COLUMN rate_until BIGINT;
-- A month is counted from year 0.
ALTER TABLE keys ADD COLUMN quota_month BIGINT;
ALTER TABLE keys ADD COLUMN quota_used BIGINT NOT NULL DEFAULT 0;

DROP VIEW keys_in_context;
CREATE VIEW keys_in_context AS
SELECT k.id, k.uuid, k.organisation_id, k.environment_id, k.created_by, k.parent_id, k.name,
       k.prefix, k.scopes, k.expires_at, k.ip_allowlist, k.metadata, k.rate_limit,
       k.rate_window_seconds, k.quota_limit, k.created_at, k.disabled_at, k.revoked_at,
       k.request_count, k.last_used_at, k.hash, k.rate_until, k.quota_month, k.quota_used,
       e.mode, o.uuid AS organisation_uuid, u.email AS creator
FROM keys k
JOIN environments e ON e.id = k.environment_id
JOIN organisations o ON o.id = k.organisation_id
LEFT JOIN users u ON u.id = k.created_by;

-- Outcomes of checks by the hour: hours since 1970, and the words of the native contract.
CREATE TABLE key_hours (
  key_id BIGINT NOT NULL REFERENCES keys (id),
  hour   BIGINT NOT NULL,
  code   TEXT    NOT NULL,
  count  BIGINT NOT NULL,
  PRIMARY KEY (key_id, hour, code)
);
CREATE INDEX key_hours_by_age ON key_hours (hour);

-- Where a key was last used from; a few each.
CREATE TABLE key_addresses (
  key_id       BIGINT NOT NULL REFERENCES keys (id),
  address      TEXT    NOT NULL,
  last_used_at BIGINT NOT NULL,
  PRIMARY KEY (key_id, address)
);

-- Counts that are on their way to the two tables above and to the keys: JSON, by parts of the keys.
CREATE TABLE usage_log (
  id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  part BIGINT NOT NULL,
  uses TEXT NOT NULL
);
CREATE INDEX usage_log_by_part ON usage_log (part);
