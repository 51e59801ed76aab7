-- Unless another node has noticed it first.
UPDATE changes_last SET history = $2 WHERE id = 1 AND history = $1
