-- The newest stays, so that whoever missed the others can tell.
DELETE FROM changes WHERE changed_at < $1 AND number < (SELECT number FROM changes_last WHERE id = 1)
