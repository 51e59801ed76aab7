-- HookSentry's contract: tokens that are bound to one tenant, and the events that keys let in.

-- One sign-in; its access and refresh tokens live and end together.
CREATE TABLE token_families (
  id              INTEGER PRIMARY KEY,
  user_id         INTEGER NOT NULL REFERENCES users (id),
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  created_at      INTEGER NOT NULL,
  ended_at        INTEGER
) STRICT;
CREATE INDEX token_families_of_user ON token_families (user_id);

-- Only the SHA-256 of a token is here.
CREATE TABLE tokens (
  hash       BLOB    PRIMARY KEY CHECK (length(hash) = 32),
  family_id  INTEGER NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
  kind       TEXT    NOT NULL CHECK (kind IN ('access', 'refresh')),
  expires_at INTEGER NOT NULL,
  used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_of_family ON tokens (family_id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- HookSentry lists keys by any of five columns, with a filter or without, at any page. Each order has
-- its index, in bytes, with the id for ties. Whether a key is active is a number there: PostgreSQL turns
-- `(revoked_at IS NULL) = FALSE` into `revoked_at IS NOT NULL`, which it finds in no index.
CREATE INDEX keys_by_uuid ON keys (organisation_id, uuid);
CREATE INDEX keys_by_name ON keys (organisation_id, name, uuid);
CREATE INDEX keys_by_creation ON keys (organisation_id, created_at, uuid);
CREATE INDEX keys_by_revocation ON keys (organisation_id, revoked_at, uuid);
CREATE INDEX keys_by_activity ON keys (organisation_id, CAST(revoked_at IS NULL AS INTEGER), uuid);
CREATE INDEX keys_by_activity_and_name ON keys (organisation_id, CAST(revoked_at IS NULL AS INTEGER), name, uuid);
CREATE INDEX keys_by_activity_and_creation ON keys (organisation_id, CAST(revoked_at IS NULL AS INTEGER), created_at, uuid);

CREATE TABLE sources (
  id             INTEGER PRIMARY KEY,
  environment_id INTEGER NOT NULL REFERENCES environments (id),
  name           TEXT    NOT NULL,
  created_at     INTEGER NOT NULL,
  -- Kept with every event, so that totals cost no scan.
  event_count    INTEGER NOT NULL DEFAULT 0,
  UNIQUE (environment_id, name)
) STRICT;

-- Event ids are version 7 UUIDs: their order is the order of arrival, and a moment is a bound on them.
CREATE TABLE events (
  uuid            BLOB    NOT NULL UNIQUE,
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  source_id       INTEGER NOT NULL REFERENCES sources (id),
  key_id          INTEGER NOT NULL REFERENCES keys (id),
  received_at     INTEGER NOT NULL,
  body            BLOB    NOT NULL
) STRICT;
CREATE INDEX events_of_organisation ON events (organisation_id, uuid);
CREATE INDEX events_of_source ON events (source_id, uuid);
CREATE INDEX events_of_key ON events (key_id, uuid);

CREATE TABLE idempotency_keys (
  source_id   INTEGER NOT NULL REFERENCES sources (id),
  text        TEXT    NOT NULL,
  event_uuid  BLOB    NOT NULL,
  accepted_at INTEGER NOT NULL,
  PRIMARY KEY (source_id, text)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (accepted_at);

-- How long events are kept; the first bound that is met counts.
ALTER TABLE environments ADD COLUMN event_days INTEGER NOT NULL DEFAULT 7;
ALTER TABLE environments ADD COLUMN event_limit INTEGER NOT NULL DEFAULT 1000000;
