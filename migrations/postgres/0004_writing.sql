-- Events are written with less work. Keys, organisations and sources are never deleted, and an event names
-- those of a key that was just checked and of a source that the same transaction counts it for: nothing is
-- left for foreign keys to find out. The index that pages are read by makes an id unique as well.
ALTER TABLE events DROP CONSTRAINT events_organisation_id_fkey;
ALTER TABLE events DROP CONSTRAINT events_source_id_fkey;
ALTER TABLE events DROP CONSTRAINT events_key_id_fkey;
ALTER TABLE events DROP CONSTRAINT events_pkey;
DROP INDEX events_of_organisation;
ALTER TABLE events ADD CONSTRAINT events_of_organisation PRIMARY KEY (organisation_id, uuid);
