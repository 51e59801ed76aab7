-- Accepts only a position of the current log: the database may have been restored since the node read it.
UPDATE nodes SET heard = $2
WHERE id = $1
  AND (EXISTS (SELECT 1 FROM changes_last WHERE number = $2 AND token = $3)
       OR EXISTS (SELECT 1 FROM changes WHERE number = $2 AND token = $3))
