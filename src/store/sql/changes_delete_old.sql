-- The newest change stays, so that a subscriber can detect that it missed others.
DELETE FROM changes WHERE changed_at < $1 AND number < (SELECT number FROM changes_last WHERE id = 1)
