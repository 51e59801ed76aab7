-- The bytes of a source's events, kept with every event as their number is.
ALTER TABLE sources ADD COLUMN event_bytes BIGINT NOT NULL DEFAULT 0;
UPDATE sources
SET event_bytes = (SELECT coalesce(sum(octet_length(body)), 0) FROM events WHERE events.source_id = sources.id);

-- Of keys that were revoked so long ago that all else about them is deleted. For ever: no import, no restored client and
-- no other way of adding a row brings such a key back.
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
