-- HookSentry's contract: tokens that are bound to one tenant, and the events that keys let in.

-- One sign-in; its access and refresh tokens live and end together.
CREATE TABLE token_families (
  id              BIGINT PRIMARY KEY,
  user_id         BIGINT NOT NULL REFERENCES users (id),
  organisation_id BIGINT NOT NULL REFERENCES organisations (id),
  created_at      BIGINT NOT NULL,
  ended_at        BIGINT
);
CREATE INDEX token_families_of_user ON token_families (user_id);

-- Only the SHA-256 of a token is here.
CREATE TABLE tokens (
  hash       BYTEA    PRIMARY KEY CHECK (octet_length(hash) = 32),
  family_id  BIGINT NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
  kind       TEXT    NOT NULL CHECK (kind IN ('access', 'refresh')),
  expires_at BIGINT NOT NULL,
  used_at    BIGINT
);
CREATE INDEX tokens_of_family ON tokens (family_id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- HookSentry lists keys by any of five columns, with a filter or without, at any page. Each order has
-- its index, in bytes, with the id for ties. Whether a key is active is a number there: PostgreSQL turns
-- `(revoked_at IS NULL) = FALSE` into `revoked_at IS NOT NULL`, which it finds in no index.
CREATE INDEX keys_by_uuid ON keys (organisation_id, uuid) INCLUDE (id);
CREATE INDEX keys_by_name ON keys (organisation_id, name, uuid) INCLUDE (id);
CREATE INDEX keys_by_creation ON keys (organisation_id, created_at, uuid) INCLUDE (id);
CREATE INDEX keys_by_revocation ON keys (organisation_id, revoked_at NULLS FIRST, uuid) INCLUDE (id);
CREATE INDEX keys_by_activity ON keys (organisation_id, CAST(revoked_at IS NULL AS INTEGER), uuid) INCLUDE (id, revoked_at);
CREATE INDEX keys_by_activity_and_name ON keys (organisation_id, CAST(revoked_at IS NULL AS INTEGER), name, uuid) INCLUDE (id, revoked_at);
CREATE INDEX keys_by_activity_and_creation ON keys (organisation_id, CAST(revoked_at IS NULL AS INTEGER), created_at, uuid) INCLUDE (id, revoked_at);

CREATE TABLE sources (
  id             BIGINT PRIMARY KEY,
  environment_id BIGINT NOT NULL REFERENCES environments (id),
  name           TEXT    NOT NULL,
  created_at     BIGINT NOT NULL,
  -- Kept with every event, so that totals cost no scan.
  event_count    BIGINT NOT NULL DEFAULT 0,
  UNIQUE (environment_id, name)
);

-- Event ids are version 7 UUIDs: their order is the order of arrival, and a moment is a bound on them.
CREATE TABLE events (
  uuid            UUID    PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisations (id),
  source_id       BIGINT NOT NULL REFERENCES sources (id),
  key_id          BIGINT NOT NULL REFERENCES keys (id),
  received_at     BIGINT NOT NULL,
  body            BYTEA    NOT NULL
);
CREATE INDEX events_of_organisation ON events (organisation_id, uuid);
CREATE INDEX events_of_source ON events (source_id, uuid);
CREATE INDEX events_of_key ON events (key_id, uuid);

CREATE TABLE idempotency_keys (
  source_id   BIGINT NOT NULL REFERENCES sources (id),
  text        TEXT    NOT NULL,
  event_uuid  UUID    NOT NULL,
  accepted_at BIGINT NOT NULL,
  PRIMARY KEY (source_id, text)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (accepted_at);

-- How long events are kept; the first bound that is met counts.
ALTER TABLE environments ADD COLUMN event_days BIGINT NOT NULL DEFAULT 7;
ALTER TABLE environments ADD COLUMN event_limit BIGINT NOT NULL DEFAULT 1000000;
