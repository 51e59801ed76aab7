-- Pages by number: each state of a key has its own indexes, so that a key has an entry in those of its state only,
-- and a new one in none of those of revoked keys.
DROP INDEX keys_by_revocation;
DROP INDEX keys_by_activity;
DROP INDEX keys_by_activity_and_name;
DROP INDEX keys_by_activity_and_creation;
CREATE INDEX active_keys_by_uuid ON keys (organisation_id, uuid, revoked_at) WHERE revoked_at IS NULL;
CREATE INDEX active_keys_by_name ON keys (organisation_id, name, uuid, revoked_at) WHERE revoked_at IS NULL;
CREATE INDEX active_keys_by_creation ON keys (organisation_id, created_at, uuid, revoked_at) WHERE revoked_at IS NULL;
CREATE INDEX revoked_keys_by_uuid ON keys (organisation_id, uuid, revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX revoked_keys_by_name ON keys (organisation_id, name, uuid, revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX revoked_keys_by_creation ON keys (organisation_id, created_at, uuid, revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX revoked_keys_by_revocation ON keys (organisation_id, revoked_at, uuid) WHERE revoked_at IS NOT NULL;

-- How often a key of the organisation got another name: with how many there are and how many of them are revoked,
-- all that moves a key within a list.
ALTER TABLE organisations ADD COLUMN rename_count INTEGER NOT NULL DEFAULT 0;
