-- $1: the address before the page; $2: a LIKE pattern of addresses; $3: rows.
SELECT id, email, created_at, operator, disabled_at,
       (SELECT count(*) FROM memberships m WHERE m.user_id = users.id) AS organisations
FROM users
WHERE email > $1 AND email LIKE $2 ESCAPE '\'
ORDER BY email
LIMIT $3
