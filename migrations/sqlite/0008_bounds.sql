-- The bytes of a source's events, kept with every event as their number is.
ALTER TABLE sources ADD COLUMN event_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE sources
SET event_bytes = (SELECT coalesce(sum(octet_length(body)), 0) FROM events WHERE events.source_id = sources.id);

-- Of keys that were revoked so long ago that all else about them is deleted. For ever: no import, no restored client and
-- no other way of adding a row brings such a key back.
CREATE TABLE revoked_hashes (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER revoked_keys_stay_revoked BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM revoked_hashes WHERE hash = NEW.hash)
BEGIN
  SELECT RAISE(ABORT, 'a key with this hash was revoked');
END;
