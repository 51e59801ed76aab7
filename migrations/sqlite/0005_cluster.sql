-- What changed, in the order in which it was committed, and the nodes that follow it.
-- A file has one server, so `nodes` stays empty here.

-- The number of the last change. Whoever changes a key holds this row until the commit, so that the order
-- of the numbers is the order of the commits. `epoch` tells the numbers of one database from another's.
CREATE TABLE changes_last (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  number INTEGER NOT NULL,
  epoch  INTEGER NOT NULL
) STRICT;
INSERT INTO changes_last (id, number, epoch)
VALUES (1, 0, random());

-- Kept for an hour: whoever was away longer forgets all that it remembers.
CREATE TABLE changes (
  number          INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL,
  key_id          INTEGER NOT NULL,
  hash            BLOB    NOT NULL CHECK (length(hash) = 32),
  revoked         INTEGER NOT NULL,
  changed_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX changes_of_key ON changes (key_id, number);
CREATE INDEX changes_by_age ON changes (changed_at);

-- The servers of this database. `renewals` grows while a node lives: others see by it, on their own
-- clocks, whether its lease holds. `heard` is the last change that it has dropped from its memory.
CREATE TABLE nodes (
  id         INTEGER PRIMARY KEY,
  name       TEXT   NOT NULL,
  version    TEXT   NOT NULL,
  -- 1: it shares the database with no other.
  sole       INTEGER NOT NULL,
  -- Which process of which machine it is, for others on the same one.
  process    TEXT   NOT NULL,
  started_at INTEGER NOT NULL,
  renewals   INTEGER NOT NULL,
  heard      INTEGER NOT NULL,
  -- 1: its Redis answers; 0: it does not; NULL: it has none.
  redis      INTEGER
) STRICT;
