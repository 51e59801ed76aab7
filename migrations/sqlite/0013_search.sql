-- A key's name in folded case (Unicode) and composed, for searches. The program fills it, which knows all letters; the
-- names that were stored before, it folds when it starts.
ALTER TABLE keys ADD COLUMN name_folded TEXT;
CREATE INDEX keys_unfolded ON keys (id) WHERE name_folded IS NULL;
