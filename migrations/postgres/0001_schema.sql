-- The schema. Moments are milliseconds since 1970-01-01T00:00:00Z. Ids are 64 random bits; `uuid` is the id of the same
-- row in HookSentry's contract. There is no release yet, so this file is edited in place until the first one.

-- Accounts ------------------------------------------------------------------------------------------------------------

CREATE TABLE users (
  id            BIGINT PRIMARY KEY,
  email         TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,
  created_at    BIGINT NOT NULL,
  -- 1 for an operator of the server, as the first account is.
  operator      BIGINT NOT NULL DEFAULT 0 CHECK (operator IN (0, 1)),
  -- The moment when an operator disabled the account: no session, token or password of it is accepted.
  disabled_at   BIGINT,
  -- The last use of a session or a sign-in, to the minute. It survives the session.
  seen_at       BIGINT
);

-- At most one row, which the first account inserts (--registration first), so that of two concurrent registrations only
-- one is the first.
CREATE TABLE first_account (
  only_one BIGINT PRIMARY KEY CHECK (only_one = 1)
);

-- Networks that an account signed in from lately: a flood of guesses from other networks does not delay its owner.
CREATE TABLE known_networks (
  user_id      BIGINT NOT NULL REFERENCES users (id),
  -- An IPv4 address, or the first address of an IPv6 /64.
  network      TEXT NOT NULL,
  signed_in_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, network)
);
CREATE INDEX known_networks_by_age ON known_networks (signed_in_at);

CREATE TABLE organisations (
  id            BIGINT PRIMARY KEY,
  uuid          UUID NOT NULL UNIQUE,
  name          TEXT NOT NULL,
  created_at    BIGINT NOT NULL,
  -- Updated with every key, so that limits and totals need no scan.
  key_count     BIGINT NOT NULL DEFAULT 0,
  revoked_count BIGINT NOT NULL DEFAULT 0,
  -- Changes of an organisation have numbers of their own, which reveal nothing about other organisations.
  change_number BIGINT NOT NULL DEFAULT 0,
  change_token  BIGINT NOT NULL DEFAULT 0,
  -- Set when it has no member, invitation and unrevoked key any more; a job then erases the rest.
  deleted_at    BIGINT
);

CREATE TABLE environments (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisations (id),
  name            TEXT NOT NULL,
  mode            TEXT NOT NULL CHECK (mode IN ('live', 'test')),
  created_at      BIGINT NOT NULL,
  -- The retention of events; the first limit that is reached counts.
  event_days      BIGINT NOT NULL DEFAULT 7,
  event_limit     BIGINT NOT NULL DEFAULT 1000000,
  -- An archived environment has no unrevoked key and gets none.
  archived_at     BIGINT
);
CREATE INDEX environments_of_organisation ON environments (organisation_id);

CREATE TABLE memberships (
  user_id         BIGINT NOT NULL REFERENCES users (id),
  organisation_id BIGINT NOT NULL REFERENCES organisations (id),
  role            TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  created_at      BIGINT NOT NULL,
  PRIMARY KEY (user_id, organisation_id)
);
CREATE INDEX members_of_organisation ON memberships (organisation_id, created_at, user_id);

-- Open invitations. One that is accepted, replaced or withdrawn has no row.
CREATE TABLE invitations (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisations (id),
  email           TEXT NOT NULL,
  role            TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  -- SHA-256 of the token.
  token_hash      BYTEA NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
  created_by      BIGINT NOT NULL REFERENCES users (id),
  created_at      BIGINT NOT NULL,
  expires_at      BIGINT NOT NULL,
  UNIQUE (organisation_id, email)
);
CREATE INDEX invitations_of_maker ON invitations (created_by);
CREATE INDEX invitations_by_expiry ON invitations (expires_at);

-- The id of a session is a secret: only its SHA-256 is stored.
CREATE TABLE sessions (
  id_hash    BYTEA PRIMARY KEY CHECK (octet_length(id_hash) = 32),
  user_id    BIGINT NOT NULL REFERENCES users (id),
  data       TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  seen_at    BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);

-- A sign-in of HookSentry's contract. Its access and refresh tokens end together.
CREATE TABLE token_families (
  id              BIGINT PRIMARY KEY,
  user_id         BIGINT NOT NULL REFERENCES users (id),
  organisation_id BIGINT NOT NULL REFERENCES organisations (id),
  created_at      BIGINT NOT NULL,
  ended_at        BIGINT
);
CREATE INDEX token_families_of_user ON token_families (user_id);
CREATE INDEX token_families_of_organisation ON token_families (organisation_id);

-- Only the SHA-256 of a token is stored.
CREATE TABLE tokens (
  hash       BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32),
  family_id  BIGINT NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
  kind       TEXT NOT NULL CHECK (kind IN ('access', 'refresh')),
  expires_at BIGINT NOT NULL,
  used_at    BIGINT
);
CREATE INDEX tokens_of_family ON tokens (family_id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- Keys ----------------------------------------------------------------------------------------------------------------

CREATE TABLE keys (
  id                  BIGINT PRIMARY KEY,
  -- Begins with the moment of creation: the order of the UUIDs is the order of creation, so no list needs an index by
  -- `created_at`.
  uuid                UUID NOT NULL UNIQUE,
  hash                BYTEA NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  organisation_id     BIGINT NOT NULL REFERENCES organisations (id),
  environment_id      BIGINT NOT NULL REFERENCES environments (id),
  created_by          BIGINT REFERENCES users (id),
  -- The key that created this one, if keys may manage keys.
  parent_id           BIGINT REFERENCES keys (id),
  name                TEXT COLLATE "C" NOT NULL,
  -- The name in folded case (Unicode) and composed, for searches. The program computes it, because it knows all
  -- letters.
  name_folded         TEXT COLLATE "C" NOT NULL,
  prefix              TEXT NOT NULL,
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
  last_used_at        BIGINT,
  -- The last saved spending of limits; the server that counts has newer values. A month is counted from year 0.
  rate_until          BIGINT,
  quota_month         BIGINT,
  quota_used          BIGINT NOT NULL DEFAULT 0
) WITH (
  -- Leaves room on each page for another version of a row, so that a count that several nodes write each second changes
  -- no index.
  fillfactor = 80
);
CREATE INDEX keys_of_creator ON keys (created_by, uuid);
-- Counts the keys of each member.
CREATE INDEX active_keys_of_creator ON keys (created_by, organisation_id) WHERE revoked_at IS NULL;
CREATE INDEX keys_of_environment ON keys (environment_id, uuid);
CREATE INDEX keys_of_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;
-- HookSentry lists keys in several orders, with or without a filter by state, at any page. Each order has an index,
-- sorted by bytes, with the UUID for ties. Each state has its own indexes, so that a key has entries only in those of
-- its state.
CREATE INDEX keys_by_uuid ON keys (organisation_id, uuid) INCLUDE (id);
CREATE INDEX keys_by_name ON keys (organisation_id, name, uuid) INCLUDE (id);
CREATE INDEX active_keys_by_uuid ON keys (organisation_id, uuid) INCLUDE (id, revoked_at) WHERE revoked_at IS NULL;
CREATE INDEX active_keys_by_name ON keys (organisation_id, name, uuid) INCLUDE (id, revoked_at) WHERE revoked_at IS NULL;
CREATE INDEX revoked_keys_by_uuid ON keys (organisation_id, uuid) INCLUDE (id, revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX revoked_keys_by_name ON keys (organisation_id, name, uuid) INCLUDE (id, revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX revoked_keys_by_revocation ON keys (organisation_id, revoked_at, uuid) INCLUDE (id) WHERE revoked_at IS NOT NULL;

-- A key with the columns of its environment, organisation and creator; every reader of keys selects from it.
CREATE VIEW keys_in_context AS
SELECT k.*, e.mode, o.uuid AS organisation_uuid, u.email AS creator
FROM keys k
JOIN environments e ON e.id = k.environment_id
JOIN organisations o ON o.id = k.organisation_id
LEFT JOIN users u ON u.id = k.created_by;

-- Hashes of keys with rows that were deleted long after the revocation. They stay for ever: no import, no restored
-- client and no other way of adding a row reactivates such a key.
CREATE TABLE revoked_hashes (
  hash BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32)
);
CREATE FUNCTION refuse_revoked_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM revoked_hashes WHERE hash = NEW.hash) THEN
    RAISE EXCEPTION 'a key with this hash was revoked' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER revoked_keys_stay_revoked BEFORE INSERT ON keys
FOR EACH ROW EXECUTE FUNCTION refuse_revoked_key();

-- Use of keys ---------------------------------------------------------------------------------------------------------

-- Hourly outcomes of checks: hours since 1970, and the codes of the native contract.
CREATE TABLE key_hours (
  key_id BIGINT NOT NULL REFERENCES keys (id),
  hour   BIGINT NOT NULL,
  code   TEXT NOT NULL,
  count  BIGINT NOT NULL,
  PRIMARY KEY (key_id, hour, code)
);
CREATE INDEX key_hours_by_age ON key_hours (hour);

-- The addresses that a key was last used from; at most ten of each key.
CREATE TABLE key_addresses (
  key_id       BIGINT NOT NULL REFERENCES keys (id),
  address      TEXT NOT NULL,
  last_used_at BIGINT NOT NULL,
  PRIMARY KEY (key_id, address)
);

-- Counts that are not yet added to `key_hours` and `keys`: JSON, by parts of the keys.
CREATE TABLE usage_log (
  id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  part BIGINT NOT NULL,
  uses TEXT NOT NULL
);
CREATE INDEX usage_log_by_part ON usage_log (part);

-- Events --------------------------------------------------------------------------------------------------------------

CREATE TABLE sources (
  id             BIGINT PRIMARY KEY,
  environment_id BIGINT NOT NULL REFERENCES environments (id),
  name           TEXT NOT NULL,
  created_at     BIGINT NOT NULL,
  -- Updated with every event, so that totals and limits need no scan.
  event_count    BIGINT NOT NULL DEFAULT 0,
  event_bytes    BIGINT NOT NULL DEFAULT 0,
  UNIQUE (environment_id, name)
);

-- Event ids are version 7 UUIDs: their order is the order of arrival, and a moment is a limit on them. There are no
-- foreign keys, because events are written often, and refer to rows that the same request checked.
CREATE TABLE events (
  uuid            UUID NOT NULL,
  organisation_id BIGINT NOT NULL,
  source_id       BIGINT NOT NULL,
  key_id          BIGINT NOT NULL,
  received_at     BIGINT NOT NULL,
  body            BYTEA NOT NULL,
  CONSTRAINT events_of_organisation PRIMARY KEY (organisation_id, uuid)
);
CREATE INDEX events_of_source ON events (source_id, uuid);
CREATE INDEX events_of_key ON events (key_id, uuid);

CREATE TABLE idempotency_keys (
  source_id   BIGINT NOT NULL REFERENCES sources (id),
  text        TEXT NOT NULL,
  event_uuid  UUID NOT NULL,
  accepted_at BIGINT NOT NULL,
  PRIMARY KEY (source_id, text)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (accepted_at);

-- Jobs ----------------------------------------------------------------------------------------------------------------

-- Jobs: one of the servers runs each (src/jobs). A periodic job has an interval, and one row for its kind that never
-- ends; any other job has a row of its own. A claim is a lease: `claim` is a random number of the worker that runs the
-- job. While it runs, `due_at` is the end of the lease, after which another worker may take the job over.
CREATE TABLE jobs (
  id          BIGINT PRIMARY KEY,
  kind        TEXT NOT NULL,
  -- Milliseconds.
  interval_ms BIGINT,
  -- JSON; 'null' once the job is done.
  payload     TEXT NOT NULL,
  created_at  BIGINT NOT NULL,
  due_at      BIGINT NOT NULL,
  claim       BIGINT,
  -- The number of claims since the last success.
  attempts    BIGINT NOT NULL DEFAULT 0,
  last_error  TEXT,
  -- A dead job has used all its attempts.
  outcome     TEXT CHECK (outcome IN ('done', 'dead')),
  ended_at    BIGINT,
  CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CHECK (interval_ms IS NULL OR ended_at IS NULL)
);
CREATE UNIQUE INDEX periodic_jobs ON jobs (kind) WHERE interval_ms IS NOT NULL;
CREATE INDEX jobs_by_due ON jobs (kind, due_at) WHERE ended_at IS NULL;
CREATE INDEX jobs_by_end ON jobs (outcome, ended_at) WHERE ended_at IS NOT NULL;

-- Audit ---------------------------------------------------------------------------------------------------------------

-- One row for each change of the rights of a person or a key, or of a setting, written in the transaction of the
-- change. Rows are never deleted. There are no foreign keys: an entry outlives its object. Entries are read by chain
-- and moment; their ids begin with the moment, so that new rows are adjacent.
CREATE TABLE audit_entries (
  id              BIGINT PRIMARY KEY,
  -- NULL: the chain of the server.
  organisation_id BIGINT,
  at              BIGINT NOT NULL,
  actor_type      TEXT NOT NULL,
  actor_id        TEXT NOT NULL,
  actor_label     TEXT NOT NULL,
  action          TEXT NOT NULL,
  target_type     TEXT NOT NULL,
  target_id       TEXT NOT NULL,
  target_label    TEXT NOT NULL,
  -- The request, if there was one.
  address         TEXT,
  user_agent      TEXT,
  request_id      TEXT,
  -- JSON: objects of fields.
  before          TEXT,
  after           TEXT
);
CREATE INDEX audit_entries_of_organisation ON audit_entries (organisation_id, at, id);

-- The change log and the nodes ----------------------------------------------------------------------------------------

-- The number of the last change. A transaction that changes keys locks this row until its commit, so that the order of
-- the numbers is the commit order. `epoch` tells the numbers of one database from those of another. Each transaction
-- that changes keys draws a new `token`, and stores it in its changes; `previous` is the token before. A server draws a
-- new `history` when it finds that the database was restored: a restored database assigns the same numbers to other
-- changes.
CREATE TABLE changes_last (
  id       BIGINT PRIMARY KEY CHECK (id = 1),
  number   BIGINT NOT NULL,
  epoch    BIGINT NOT NULL,
  token    BIGINT NOT NULL,
  previous BIGINT NOT NULL,
  history  BIGINT NOT NULL
);
INSERT INTO changes_last (id, number, epoch, token, previous, history)
VALUES (1, 0,
        hashtextextended(gen_random_uuid()::text, 0),
        hashtextextended(gen_random_uuid()::text, 0), 0,
        hashtextextended(gen_random_uuid()::text, 0));

-- Kept for an hour: a subscriber that was away longer clears its cache.
CREATE TABLE changes (
  number              BIGINT PRIMARY KEY,
  organisation_id     BIGINT NOT NULL,
  key_id              BIGINT NOT NULL,
  hash                BYTEA NOT NULL CHECK (octet_length(hash) = 32),
  revoked             BIGINT NOT NULL,
  changed_at          BIGINT NOT NULL,
  token               BIGINT NOT NULL,
  previous            BIGINT NOT NULL,
  organisation_number BIGINT NOT NULL
);
CREATE INDEX changes_of_key ON changes (key_id, number);
CREATE INDEX changes_by_age ON changes (changed_at);
CREATE INDEX changes_of_organisation ON changes (organisation_id, organisation_number);

-- The servers of this database. `renewals` grows while a node is alive: other nodes see from it, on their own clocks,
-- whether its lease holds. `heard` is the last change that the node has applied to its cache.
CREATE TABLE nodes (
  id             BIGINT PRIMARY KEY,
  name           TEXT NOT NULL,
  version        TEXT NOT NULL,
  -- 1 for a node that must be the only one of its database.
  sole           BIGINT NOT NULL,
  -- The process and the machine of the node, for other nodes on the same machine.
  process        TEXT NOT NULL,
  started_at     BIGINT NOT NULL,
  renewals       BIGINT NOT NULL,
  heard          BIGINT NOT NULL,
  -- The state of the node's Redis. 1: reachable; 0: unreachable; NULL: not configured.
  redis          BIGINT,
  -- The identity of that Redis, a random number that is stored in it; NULL while unknown.
  redis_identity BIGINT
);

-- `/readyz` and the start of a server write this row, because only a write shows whether the database accepts writes.
CREATE TABLE write_probes (
  id         BIGINT PRIMARY KEY CHECK (id = 1),
  written_at BIGINT NOT NULL
);
