-- SQLite has one writer, so there is nothing to lock.
SELECT 1 WHERE $1 IS NULL
