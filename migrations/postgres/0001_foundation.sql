-- Moments are milliseconds since 1970-01-01T00:00:00Z. Ids are 64 random bits; `uuid` is the same
-- row's other name, which HookSentry's contract shows.

CREATE TABLE users (
  id            BIGINT PRIMARY KEY,
  email         TEXT    NOT NULL UNIQUE,
  password_hash TEXT    NOT NULL,
  created_at    BIGINT NOT NULL
);

-- At most one row, ever: who inserts it has made the first account (--registration first).
CREATE TABLE first_account (
  only_one BIGINT PRIMARY KEY CHECK (only_one = 1)
);

CREATE TABLE organisations (
  id            BIGINT PRIMARY KEY,
  uuid          UUID    NOT NULL UNIQUE,
  name          TEXT    NOT NULL,
  created_at    BIGINT NOT NULL,
  -- Kept with every key, so that the bound and the totals cost no scan.
  key_count     BIGINT NOT NULL DEFAULT 0,
  revoked_count BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE environments (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisations (id),
  name            TEXT    NOT NULL,
  mode            TEXT    NOT NULL CHECK (mode IN ('live', 'test')),
  created_at      BIGINT NOT NULL
);
CREATE INDEX environments_of_organisation ON environments (organisation_id);

CREATE TABLE memberships (
  user_id         BIGINT NOT NULL REFERENCES users (id),
  organisation_id BIGINT NOT NULL REFERENCES organisations (id),
  role            TEXT    NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
  created_at      BIGINT NOT NULL,
  PRIMARY KEY (user_id, organisation_id)
);
CREATE INDEX members_of_organisation ON memberships (organisation_id);

-- The id of a session is a secret: only its SHA-256 is here.
CREATE TABLE sessions (
  id_hash    BYTEA    PRIMARY KEY CHECK (octet_length(id_hash) = 32),
  user_id    BIGINT NOT NULL REFERENCES users (id),
  data       TEXT    NOT NULL,
  created_at BIGINT NOT NULL,
  seen_at    BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE keys (
  id                  BIGINT PRIMARY KEY,
  uuid                UUID    NOT NULL UNIQUE,
  hash                BYTEA    NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  organisation_id     BIGINT NOT NULL REFERENCES organisations (id),
  environment_id      BIGINT NOT NULL REFERENCES environments (id),
  created_by          BIGINT REFERENCES users (id),
  -- The key that made this one, where keys may manage keys.
  parent_id           BIGINT REFERENCES keys (id),
  name                TEXT    COLLATE "C" NOT NULL,
  prefix              TEXT    NOT NULL,
  scopes              TEXT,
  expires_at          BIGINT,
  -- JSON: an array of CIDRs; an object of strings.
  ip_allowlist        TEXT,
  metadata            TEXT,
  rate_limit          BIGINT,
  rate_window_seconds BIGINT,
  quota_limit         BIGINT,
  created_at          BIGINT NOT NULL,
  disabled_at         BIGINT,
  revoked_at          BIGINT,
  revoked_by          BIGINT REFERENCES users (id),
  request_count       BIGINT NOT NULL DEFAULT 0,
  last_used_at        BIGINT
);
CREATE INDEX keys_of_creator ON keys (created_by, created_at, id);
CREATE INDEX keys_of_organisation ON keys (organisation_id, created_at, id);
CREATE INDEX keys_of_environment ON keys (environment_id, created_at, id);
CREATE INDEX keys_of_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;

-- A key with what is said of it from elsewhere; what every reader of keys selects from.
CREATE VIEW keys_in_context AS
SELECT k.id, k.uuid, k.organisation_id, k.environment_id, k.created_by, k.parent_id, k.name,
       k.prefix, k.scopes, k.expires_at, k.ip_allowlist, k.metadata, k.rate_limit,
       k.rate_window_seconds, k.quota_limit, k.created_at, k.disabled_at, k.revoked_at,
       k.request_count, k.last_used_at, k.hash,
       e.mode, o.uuid AS organisation_uuid, u.email AS creator
FROM keys k
JOIN environments e ON e.id = k.environment_id
JOIN organisations o ON o.id = k.organisation_id
LEFT JOIN users u ON u.id = k.created_by;
