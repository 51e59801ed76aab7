-- SQLite has one writer, so there is nothing to lock.
SELECT 1 FROM keys WHERE id = $1
