-- The schema. Moments are milliseconds since 1970-01-01T00:00:00Z. Ids are 64 random bits; `uuid` is the id of the same
-- row in HookSentry's contract. There is no release yet, so this file is edited in place until the first one.

-- Accounts ------------------------------------------------------------------------------------------------------------

CREATE TABLE users (
  id            INTEGER PRIMARY KEY,
  email         TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  -- 1 for an operator of the server, as the first account is.
  operator      INTEGER NOT NULL DEFAULT 0 CHECK (operator IN (0, 1)),
  -- The moment when an operator disabled the account: no session, token or password of it is accepted.
  disabled_at   INTEGER,
  -- The last use of a session or a sign-in, to the minute. It survives the session.
  seen_at       INTEGER
) STRICT;

-- At most one row, which the first account inserts (--registration first), so that of two concurrent registrations only
-- one is the first.
CREATE TABLE first_account (
  only_one INTEGER PRIMARY KEY CHECK (only_one = 1)
) STRICT;

-- Networks that an account signed in from lately: a flood of guesses from other networks does not delay its owner.
CREATE TABLE known_networks (
  user_id      INTEGER NOT NULL REFERENCES users (id),
  -- An IPv4 address, or the first address of an IPv6 /64.
  network      TEXT NOT NULL,
  signed_in_at INTEGER NOT NULL,
  PRIMARY KEY (user_id, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX known_networks_by_age ON known_networks (signed_in_at);

CREATE TABLE organisations (
  id            INTEGER PRIMARY KEY,
  uuid          BLOB NOT NULL UNIQUE,
  name          TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  -- Updated with every key, so that limits and totals need no scan.
  key_count     INTEGER NOT NULL DEFAULT 0,
  revoked_count INTEGER NOT NULL DEFAULT 0,
  -- Changes of an organisation have numbers of their own, which reveal nothing about other organisations.
  change_number INTEGER NOT NULL DEFAULT 0,
  change_token  INTEGER NOT NULL DEFAULT 0,
  -- Set when it has no member, invitation and unrevoked key any more; a job then erases the rest.
  deleted_at    INTEGER
) STRICT;

CREATE TABLE environments (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  name            TEXT NOT NULL,
  mode            TEXT NOT NULL CHECK (mode IN ('live', 'test')),
  created_at      INTEGER NOT NULL,
  -- The retention of events; the first limit that is reached counts.
  event_days      INTEGER NOT NULL DEFAULT 7,
  event_limit     INTEGER NOT NULL DEFAULT 1000000,
  -- An archived environment has no unrevoked key and gets none.
  archived_at     INTEGER
) STRICT;
CREATE INDEX environments_of_organisation ON environments (organisation_id);

CREATE TABLE memberships (
  user_id         INTEGER NOT NULL REFERENCES users (id),
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  role            TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  created_at      INTEGER NOT NULL,
  PRIMARY KEY (user_id, organisation_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_organisation ON memberships (organisation_id, created_at, user_id);

-- Open invitations. One that is accepted, replaced or withdrawn has no row.
CREATE TABLE invitations (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  email           TEXT NOT NULL,
  role            TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  -- SHA-256 of the token.
  token_hash      BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
  created_by      INTEGER NOT NULL REFERENCES users (id),
  created_at      INTEGER NOT NULL,
  expires_at      INTEGER NOT NULL,
  UNIQUE (organisation_id, email)
) STRICT;
CREATE INDEX invitations_of_maker ON invitations (created_by);
CREATE INDEX invitations_by_expiry ON invitations (expires_at);

-- The id of a session is a secret: only its SHA-256 is stored.
CREATE TABLE sessions (
  id_hash    BLOB PRIMARY KEY CHECK (length(id_hash) = 32),
  user_id    INTEGER NOT NULL REFERENCES users (id),
  data       TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_user ON sessions (user_id);

-- A sign-in of HookSentry's contract. Its access and refresh tokens end together.
CREATE TABLE token_families (
  id              INTEGER PRIMARY KEY,
  user_id         INTEGER NOT NULL REFERENCES users (id),
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  created_at      INTEGER NOT NULL,
  ended_at        INTEGER
) STRICT;
CREATE INDEX token_families_of_user ON token_families (user_id);
CREATE INDEX token_families_of_organisation ON token_families (organisation_id);

-- Only the SHA-256 of a token is stored.
CREATE TABLE tokens (
  hash       BLOB PRIMARY KEY CHECK (length(hash) = 32),
  family_id  INTEGER NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
  kind       TEXT NOT NULL CHECK (kind IN ('access', 'refresh')),
  expires_at INTEGER NOT NULL,
  used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_of_family ON tokens (family_id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- Keys ----------------------------------------------------------------------------------------------------------------

CREATE TABLE keys (
  id                  INTEGER PRIMARY KEY,
  -- Begins with the moment of creation: the order of the UUIDs is the order of creation, so no list needs an index by
  -- `created_at`.
  uuid                BLOB NOT NULL UNIQUE,
  hash                BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  organisation_id     INTEGER NOT NULL REFERENCES organisations (id),
  environment_id      INTEGER NOT NULL REFERENCES environments (id),
  created_by          INTEGER REFERENCES users (id),
  -- The key that created this one, if keys may manage keys.
  parent_id           INTEGER REFERENCES keys (id),
  name                TEXT NOT NULL,
  -- The name in folded case (Unicode) and composed, for searches. The program computes it, because it knows all
  -- letters.
  name_folded         TEXT NOT NULL,
  prefix              TEXT NOT NULL,
  scopes              TEXT,
  expires_at          INTEGER,
  -- JSON: an array of CIDRs; an object of strings.
  ip_allowlist        TEXT,
  metadata            TEXT,
  rate_limit          INTEGER,
  rate_window_seconds INTEGER,
  quota_limit         INTEGER,
  created_at          INTEGER NOT NULL,
  disabled_at         INTEGER,
  revoked_at          INTEGER,
  revoked_by          INTEGER REFERENCES users (id),
  request_count       INTEGER NOT NULL DEFAULT 0,
  last_used_at        INTEGER,
  -- The last saved spending of limits; the server that counts has newer values. A month is counted from year 0.
  rate_until          INTEGER,
  quota_month         INTEGER,
  quota_used          INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX keys_of_creator ON keys (created_by, uuid);
-- Counts the keys of each member.
CREATE INDEX active_keys_of_creator ON keys (created_by, organisation_id) WHERE revoked_at IS NULL;
CREATE INDEX keys_of_environment ON keys (environment_id, uuid);
CREATE INDEX keys_of_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;
-- HookSentry lists keys in several orders, with or without a filter by state, at any page. Each order has an index,
-- sorted by bytes, with the UUID for ties. Each state has its own indexes, so that a key has entries only in those of
-- its state.
CREATE INDEX keys_by_uuid ON keys (organisation_id, uuid);
CREATE INDEX keys_by_name ON keys (organisation_id, name, uuid);
CREATE INDEX active_keys_by_uuid ON keys (organisation_id, uuid, revoked_at) WHERE revoked_at IS NULL;
CREATE INDEX active_keys_by_name ON keys (organisation_id, name, uuid, revoked_at) WHERE revoked_at IS NULL;
CREATE INDEX revoked_keys_by_uuid ON keys (organisation_id, uuid, revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX revoked_keys_by_name ON keys (organisation_id, name, uuid, revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX revoked_keys_by_revocation ON keys (organisation_id, revoked_at, uuid) WHERE revoked_at IS NOT NULL;

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
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER revoked_keys_stay_revoked BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM revoked_hashes WHERE hash = NEW.hash)
BEGIN
  SELECT RAISE(ABORT, 'a key with this hash was revoked');
END;

-- Use of keys ---------------------------------------------------------------------------------------------------------

-- Hourly outcomes of checks: hours since 1970, and the codes of the native contract.
CREATE TABLE key_hours (
  key_id INTEGER NOT NULL REFERENCES keys (id),
  hour   INTEGER NOT NULL,
  code   TEXT NOT NULL,
  count  INTEGER NOT NULL,
  PRIMARY KEY (key_id, hour, code)
) STRICT, WITHOUT ROWID;
CREATE INDEX key_hours_by_age ON key_hours (hour);

-- The addresses that a key was last used from; at most ten of each key.
CREATE TABLE key_addresses (
  key_id       INTEGER NOT NULL REFERENCES keys (id),
  address      TEXT NOT NULL,
  last_used_at INTEGER NOT NULL,
  PRIMARY KEY (key_id, address)
) STRICT, WITHOUT ROWID;

-- Counts that are not yet added to `key_hours` and `keys`: JSON, by parts of the keys.
CREATE TABLE usage_log (
  id   INTEGER PRIMARY KEY,
  part INTEGER NOT NULL,
  uses TEXT NOT NULL
) STRICT;
CREATE INDEX usage_log_by_part ON usage_log (part);

-- Events --------------------------------------------------------------------------------------------------------------

CREATE TABLE sources (
  id             INTEGER PRIMARY KEY,
  environment_id INTEGER NOT NULL REFERENCES environments (id),
  name           TEXT NOT NULL,
  created_at     INTEGER NOT NULL,
  -- Updated with every event, so that totals and limits need no scan.
  event_count    INTEGER NOT NULL DEFAULT 0,
  event_bytes    INTEGER NOT NULL DEFAULT 0,
  UNIQUE (environment_id, name)
) STRICT;

-- Event ids are version 7 UUIDs: their order is the order of arrival, and a moment is a limit on them. There are no
-- foreign keys, because events are written often, and refer to rows that the same request checked.
CREATE TABLE events (
  uuid            BLOB NOT NULL,
  organisation_id INTEGER NOT NULL,
  source_id       INTEGER NOT NULL,
  key_id          INTEGER NOT NULL,
  received_at     INTEGER NOT NULL,
  body            BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_of_organisation ON events (organisation_id, uuid);
CREATE INDEX events_of_source ON events (source_id, uuid);

CREATE TABLE idempotency_keys (
  source_id   INTEGER NOT NULL REFERENCES sources (id),
  text        TEXT NOT NULL,
  event_uuid  BLOB NOT NULL,
  accepted_at INTEGER NOT NULL,
  PRIMARY KEY (source_id, text)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (accepted_at);

-- Jobs ----------------------------------------------------------------------------------------------------------------

-- Jobs: one of the servers runs each (src/jobs). A periodic job has an interval, and one row for its kind that never
-- ends; any other job has a row of its own. A claim is a lease: `claim` is a random number of the worker that runs the
-- job. While it runs, `due_at` is the end of the lease, after which another worker may take the job over.
CREATE TABLE jobs (
  id          INTEGER PRIMARY KEY,
  kind        TEXT NOT NULL,
  -- Milliseconds.
  interval_ms INTEGER,
  -- JSON; 'null' once the job is done.
  payload     TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  due_at      INTEGER NOT NULL,
  claim       INTEGER,
  -- The number of claims since the last success.
  attempts    INTEGER NOT NULL DEFAULT 0,
  last_error  TEXT,
  -- A dead job has used all its attempts.
  outcome     TEXT CHECK (outcome IN ('done', 'dead')),
  ended_at    INTEGER,
  CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CHECK (interval_ms IS NULL OR ended_at IS NULL)
) STRICT;
CREATE UNIQUE INDEX periodic_jobs ON jobs (kind) WHERE interval_ms IS NOT NULL;
CREATE INDEX jobs_by_due ON jobs (kind, due_at) WHERE ended_at IS NULL;
CREATE INDEX jobs_by_end ON jobs (outcome, ended_at) WHERE ended_at IS NOT NULL;

-- Audit ---------------------------------------------------------------------------------------------------------------

-- One row for each change of the rights of a person or a key, or of a setting, written in the transaction of the
-- change. Rows are never deleted. There are no foreign keys: an entry outlives its object. Entries are read by chain
-- and moment; their ids begin with the moment, so that new rows are adjacent.
CREATE TABLE audit_entries (
  id              INTEGER PRIMARY KEY,
  -- NULL: the chain of the server.
  organisation_id INTEGER,
  at              INTEGER NOT NULL,
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
) STRICT;
CREATE INDEX audit_entries_of_organisation ON audit_entries (organisation_id, at, id);

-- The change log and the nodes ----------------------------------------------------------------------------------------

-- The number of the last change. A transaction that changes keys locks this row until its commit, so that the order of
-- the numbers is the commit order. `epoch` tells the numbers of one database from those of another. Each transaction
-- that changes keys draws a new `token`, and stores it in its changes; `previous` is the token before. A server draws a
-- new `history` when it finds that the database was restored: a restored database assigns the same numbers to other
-- changes.
CREATE TABLE changes_last (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  number   INTEGER NOT NULL,
  epoch    INTEGER NOT NULL,
  token    INTEGER NOT NULL,
  previous INTEGER NOT NULL,
  history  INTEGER NOT NULL
) STRICT;
INSERT INTO changes_last (id, number, epoch, token, previous, history)
VALUES (1, 0,
        random(),
        random(), 0,
        random());

-- Kept for an hour: a subscriber that was away longer clears its cache.
CREATE TABLE changes (
  number              INTEGER PRIMARY KEY,
  organisation_id     INTEGER NOT NULL,
  key_id              INTEGER NOT NULL,
  hash                BLOB NOT NULL CHECK (length(hash) = 32),
  revoked             INTEGER NOT NULL,
  changed_at          INTEGER NOT NULL,
  token               INTEGER NOT NULL,
  previous            INTEGER NOT NULL,
  organisation_number INTEGER NOT NULL
) STRICT;
CREATE INDEX changes_of_key ON changes (key_id, number);
CREATE INDEX changes_by_age ON changes (changed_at);
CREATE INDEX changes_of_organisation ON changes (organisation_id, organisation_number);

-- The servers of this database; a SQLite file has one, so this table stays empty. `renewals` grows while a node is
-- alive: other nodes see from it, on their own clocks, whether its lease holds. `heard` is the last change that the
-- node has applied to its cache.
CREATE TABLE nodes (
  id             INTEGER PRIMARY KEY,
  name           TEXT NOT NULL,
  version        TEXT NOT NULL,
  -- 1 for a node that must be the only one of its database.
  sole           INTEGER NOT NULL,
  -- The process and the machine of the node, for other nodes on the same machine.
  process        TEXT NOT NULL,
  started_at     INTEGER NOT NULL,
  renewals       INTEGER NOT NULL,
  heard          INTEGER NOT NULL,
  -- The state of the node's Redis. 1: reachable; 0: unreachable; NULL: not configured.
  redis          INTEGER,
  -- The identity of that Redis, a random number that is stored in it; NULL while unknown.
  redis_identity INTEGER
) STRICT;

-- `/readyz` and the start of a server write this row, because only a write shows whether the database accepts writes.
CREATE TABLE write_probes (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  written_at INTEGER NOT NULL
) STRICT;
