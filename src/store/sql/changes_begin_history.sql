-- Does nothing if another node has replaced the history first.
UPDATE changes_last SET history = $2 WHERE id = 1 AND history = $1
