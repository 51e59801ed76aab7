SELECT l.history, l.number AS last, o.change_number AS number, o.change_token AS token
FROM organisations o
JOIN changes_last l ON l.id = 1
WHERE o.id = $1
