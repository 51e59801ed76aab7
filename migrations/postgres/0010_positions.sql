-- Positions in the log of changes that cannot be mistaken for those of another history: a database that was restored
-- to an earlier state gives the same numbers to other changes.

-- `token` is drawn anew by each transaction that changes keys, and stands in its changes; `previous` is the token
-- before. `history` is drawn anew when a server finds that the database went back.
ALTER TABLE changes_last ADD COLUMN token BIGINT NOT NULL DEFAULT 0;
ALTER TABLE changes_last ADD COLUMN previous BIGINT NOT NULL DEFAULT 0;
ALTER TABLE changes_last ADD COLUMN history BIGINT NOT NULL DEFAULT 0;
UPDATE changes_last
SET token = hashtextextended(gen_random_uuid()::text, 0), history = hashtextextended(gen_random_uuid()::text, 0);

-- Changes of an organisation have numbers of their own, which say nothing about other organisations.
ALTER TABLE organisations ADD COLUMN change_number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE organisations ADD COLUMN change_token BIGINT NOT NULL DEFAULT 0;

-- Changes from before have no such numbers: subscribers that resume are told to forget everything.
DELETE FROM changes;
ALTER TABLE changes ADD COLUMN token BIGINT NOT NULL DEFAULT 0;
ALTER TABLE changes ADD COLUMN previous BIGINT NOT NULL DEFAULT 0;
ALTER TABLE changes ADD COLUMN organisation_number BIGINT NOT NULL DEFAULT 0;
CREATE INDEX changes_of_organisation ON changes (organisation_id, organisation_number);

-- Which Redis a node uses, by a random number that is kept in that Redis; NULL while it is not known.
ALTER TABLE nodes ADD COLUMN redis_identity BIGINT;

-- The first account is the operator of the server. Where accounts were made before this was recorded, the oldest one.
ALTER TABLE first_account ADD COLUMN user_id BIGINT REFERENCES users (id);
INSERT INTO first_account (only_one) SELECT 1 WHERE EXISTS (SELECT 1 FROM users) ON CONFLICT (only_one) DO NOTHING;
UPDATE first_account SET user_id = (SELECT id FROM users ORDER BY created_at, id LIMIT 1);
