-- The end of the log, joined with the changes after a number. Returns at least one row.
SELECT l.epoch, l.history, l.number AS last, l.token AS last_token,
       c.number, c.organisation_id, c.key_id, c.hash, c.revoked, c.token, c.previous, c.organisation_number
FROM changes_last l
LEFT JOIN (SELECT * FROM changes WHERE number > $1 ORDER BY number LIMIT $2) c ON TRUE
WHERE l.id = 1
ORDER BY c.number
