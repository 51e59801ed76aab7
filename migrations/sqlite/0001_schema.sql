-- The schema. Moments are milliseconds since 1970-01-01T00:00:00Z. Ids are 64 random bits; `uuid` is the other name of the
-- same row, which HookSentry's contract shows. Nothing was released yet: this file changes until then.

-- Accounts ------------------------------------------------------------------------------------------------------------

CREATE TABLE users (
  id            INTEGER PRIMARY KEY,
  email         TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  -- 1: operates the server, as the first account does.
  operator      INTEGER NOT NULL DEFAULT 0 CHECK (operator IN (0, 1))
) STRICT;

-- At most one row, which the first account claims (--registration first), so that of two at once only one is the first.
CREATE TABLE first_account (
  only_one INTEGER PRIMARY KEY CHECK (only_one = 1)
) STRICT;

-- Networks that an account signed in from lately: a flood of guesses from elsewhere does not delay its owner.
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
  -- Updated with every key, so that the bound and the totals need no scan.
  key_count     INTEGER NOT NULL DEFAULT 0,
  revoked_count INTEGER NOT NULL DEFAULT 0,
  -- Changes of an organisation have numbers of their own, which say nothing about other organisations.
  change_number INTEGER NOT NULL DEFAULT 0,
  change_token  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE environments (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  name            TEXT NOT NULL,
  mode            TEXT NOT NULL CHECK (mode IN ('live', 'test')),
  created_at      INTEGER NOT NULL,
  -- How long events are kept; the first bound that is reached counts.
  event_days      INTEGER NOT NULL DEFAULT 7,
  event_limit     INTEGER NOT NULL DEFAULT 1000000
) STRICT;
CREATE INDEX environments_of_organisation ON environments (organisation_id);

CREATE TABLE memberships (
  user_id         INTEGER NOT NULL REFERENCES users (id),
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  role            TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  created_at      INTEGER NOT NULL,
  PRIMARY KEY (user_id, organisation_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_organisation ON memberships (organisation_id);

-- The id of a session is a secret: only its SHA-256 is stored.
CREATE TABLE sessions (
  id_hash    BLOB PRIMARY KEY CHECK (length(id_hash) = 32),
  user_id    INTEGER NOT NULL REFERENCES users (id),
  data       TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_user ON sessions (user_id);

-- One sign-in by HookSentry's contract; its access and refresh tokens live and end together.
CREATE TABLE token_families (
  id              INTEGER PRIMARY KEY,
  user_id         INTEGER NOT NULL REFERENCES users (id),
  organisation_id INTEGER NOT NULL REFERENCES organisations (id),
  created_at      INTEGER NOT NULL,
  ended_at        INTEGER
) STRICT;
CREATE INDEX token_families_of_user ON token_families (user_id);

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
  -- It begins with the moment of creation: the order of the UUIDs is the order in which keys were made, so no list needs an
  -- index by `created_at`.
  uuid                BLOB NOT NULL UNIQUE,
  hash                BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  organisation_id     INTEGER NOT NULL REFERENCES organisations (id),
  environment_id      INTEGER NOT NULL REFERENCES environments (id),
  created_by          INTEGER REFERENCES users (id),
  -- The key that made this one, where keys may manage keys.
  parent_id           INTEGER REFERENCES keys (id),
  name                TEXT NOT NULL,
  -- The name in folded case (Unicode) and composed, for searches. The program computes it, which knows all letters.
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
  -- The spending of limits that was last saved; the server that counts knows newer values. A month is counted from year 0.
  rate_until          INTEGER,
  quota_month         INTEGER,
  quota_used          INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX keys_of_creator ON keys (created_by, uuid);
CREATE INDEX keys_of_environment ON keys (environment_id, uuid);
CREATE INDEX keys_of_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;
-- HookSentry lists keys in several orders, with a filter by state or without, at any page. Each order has its index, in bytes,
-- with the UUID for ties. Each state has its own, so that a key has an entry in those of its state only.
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

-- Hashes of keys whose rows were deleted long after their revocation. They stay for ever: no import, no restored client and no
-- other way of adding a row brings such a key back.
CREATE TABLE revoked_hashes (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER revoked_keys_stay_revoked BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM revoked_hashes WHERE hash = NEW.hash)
BEGIN
  SELECT RAISE(ABORT, 'a key with this hash was revoked');
END;

-- Use of keys ---------------------------------------------------------------------------------------------------------

-- Outcomes of checks by the hour: hours since 1970, and the codes of the native contract.
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

-- Counts on their way to `key_hours` and `keys`: JSON, by parts of the keys.
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
  -- Updated with every event, so that totals and bounds need no scan.
  event_count    INTEGER NOT NULL DEFAULT 0,
  event_bytes    INTEGER NOT NULL DEFAULT 0,
  UNIQUE (environment_id, name)
) STRICT;

-- Event ids are version 7 UUIDs: their order is the order of arrival, and a moment is a bound on them. There are no foreign keys,
-- because events are written often, and refer to rows that the same request checked.
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

-- Work that one of the servers does (src/jobs). A periodic job has an interval, and one row for its kind that never ends; any other
-- job has a row of its own. A claim is a lease: `claim` is a random number of the worker that runs the job, and until it is done
-- `due_at` is the end of the lease, when another worker may take the job over.
CREATE TABLE jobs (
  id          INTEGER PRIMARY KEY,
  kind        TEXT NOT NULL,
  -- Milliseconds.
  interval_ms INTEGER,
  -- JSON; 'null' as soon as the job is done.
  payload     TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  due_at      INTEGER NOT NULL,
  claim       INTEGER,
  -- Claims since the last success.
  attempts    INTEGER NOT NULL DEFAULT 0,
  last_error  TEXT,
  -- A dead job has failed for the last time.
  outcome     TEXT CHECK (outcome IN ('done', 'dead')),
  ended_at    INTEGER,
  CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CHECK (interval_ms IS NULL OR ended_at IS NULL)
) STRICT;
CREATE UNIQUE INDEX periodic_jobs ON jobs (kind) WHERE interval_ms IS NOT NULL;
CREATE INDEX jobs_by_due ON jobs (kind, due_at) WHERE ended_at IS NULL;
CREATE INDEX jobs_by_end ON jobs (outcome, ended_at) WHERE ended_at IS NOT NULL;

-- Audit ---------------------------------------------------------------------------------------------------------------

-- One row for each change of what a person, a key or a setting may do, written in the transaction of the change. Rows are kept.
-- There are no foreign keys: an entry outlives what it is about. Entries are read by chain and moment; their ids begin with the
-- moment, so that new rows stand together.
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
  -- The request, where there was one.
  address         TEXT,
  user_agent      TEXT,
  request_id      TEXT,
  -- JSON: objects of fields.
  before          TEXT,
  after           TEXT
) STRICT;
CREATE INDEX audit_entries_of_organisation ON audit_entries (organisation_id, at, id);

-- The change log and the nodes ----------------------------------------------------------------------------------------

-- The number of the last change. A transaction that changes keys holds this row until its commit, so that the order of the
-- numbers is the order of the commits. `epoch` tells the numbers of one database from those of another. `token` is drawn anew by each
-- transaction that changes keys, and stands in its changes; `previous` is the token before. `history` is drawn anew when a server
-- finds that the database went back: a restored database gives the same numbers to other changes.
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

-- Kept for an hour: a subscriber that was away longer forgets everything.
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

-- The servers of this database; a SQLite file has one, so this table stays empty. `renewals` grows while a node
-- lives: others see by it, on their own clocks, whether its lease holds. `heard` is the last change that it has dropped from
-- its memory.
CREATE TABLE nodes (
  id             INTEGER PRIMARY KEY,
  name           TEXT NOT NULL,
  version        TEXT NOT NULL,
  -- 1: it shares the database with no other.
  sole           INTEGER NOT NULL,
  -- Its process and machine, for other nodes on the same machine.
  process        TEXT NOT NULL,
  started_at     INTEGER NOT NULL,
  renewals       INTEGER NOT NULL,
  heard          INTEGER NOT NULL,
  -- 1: its Redis answers; 0: it does not; NULL: it has none.
  redis          INTEGER,
  -- Its Redis, by a random number that is kept in that Redis; NULL while it is not known.
  redis_identity INTEGER
) STRICT;

-- `/readyz` and the start of a server write this row, because only a write shows whether the database takes any.
CREATE TABLE write_probes (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  written_at INTEGER NOT NULL
) STRICT;
