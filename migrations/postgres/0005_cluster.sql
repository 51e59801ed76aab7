-- What changed, in the order in which it was committed, and the nodes that follow it.

-- The number of the last change. Whoever changes a key holds this row until the commit, so that the order
-- of the numbers is the order of the commits. `epoch` tells the numbers of one database from another's.
CREATE TABLE changes_last (
  id     BIGINT PRIMARY KEY CHECK (id = 1),
  number BIGINT NOT NULL,
  epoch  BIGINT NOT NULL
);
INSERT INTO changes_last (id, number, epoch)
VALUES (1, 0, CAST(CAST('x' || substr(md5(random()::text || clock_timestamp()::text), 1, 16) AS bit(64)) AS BIGINT));

-- Kept for an hour: whoever was away longer forgets all that it remembers.
CREATE TABLE changes (
  number          BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL,
  key_id          BIGINT NOT NULL,
  hash            BYTEA  NOT NULL CHECK (octet_length(hash) = 32),
  revoked         BIGINT NOT NULL,
  changed_at      BIGINT NOT NULL
);
CREATE INDEX changes_of_key ON changes (key_id, number);
CREATE INDEX changes_by_age ON changes (changed_at);

-- The servers of this database. `renewals` grows while a node lives: others see by it, on their own
-- clocks, whether its lease holds. `heard` is the last change that it has dropped from its memory.
CREATE TABLE nodes (
  id         BIGINT PRIMARY KEY,
  name       TEXT   NOT NULL,
  version    TEXT   NOT NULL,
  -- 1: it shares the database with no other.
  sole       BIGINT NOT NULL,
  -- Which process of which machine it is, for others on the same one.
  process    TEXT   NOT NULL,
  started_at BIGINT NOT NULL,
  renewals   BIGINT NOT NULL,
  heard      BIGINT NOT NULL,
  -- 1: its Redis answers; 0: it does not; NULL: it has none.
  redis      BIGINT
);

-- Room on each page for another version of a row: a count that several nodes write each second then touches none
-- of the table's indexes.
ALTER TABLE keys SET (fillfactor = 80);
