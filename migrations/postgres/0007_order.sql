-- A key's UUID begins with the moment it was made: in the order of their UUIDs, keys are in the order in which
-- they came. So no list needs an index by `created_at`, and a new key is an entry less in each that goes.
DROP INDEX keys_of_creator;
DROP INDEX keys_of_organisation;
DROP INDEX keys_of_environment;
DROP INDEX keys_by_creation;
DROP INDEX active_keys_by_creation;
DROP INDEX revoked_keys_by_creation;
CREATE INDEX keys_of_creator ON keys (created_by, uuid);
CREATE INDEX keys_of_environment ON keys (environment_id, uuid);
