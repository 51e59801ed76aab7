-- $2: a network, or NULL.
SELECT id, email, password_hash, disabled_at,
       (SELECT signed_in_at FROM known_networks WHERE user_id = users.id AND network = CAST($2 AS TEXT)) AS known_at
FROM users
WHERE email = $1
