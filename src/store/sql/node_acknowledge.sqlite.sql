-- Only what is a position of this very log: the database may have gone back since the node read it.
UPDATE nodes SET heard = $2
WHERE id = $1
  AND (EXISTS (SELECT 1 FROM changes_last WHERE number = $2 AND token = $3)
       OR EXISTS (SELECT 1 FROM changes WHERE number = $2 AND token = $3))
