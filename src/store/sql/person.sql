-- A row for each environment, or one row for a person without an organisation.
SELECT u.id AS user_id, u.email, m.role, o.id AS organisation_id, o.uuid,
       o.name AS organisation_name, e.id AS environment_id, e.name AS environment_name, e.mode,
       u.operator
FROM users u
LEFT JOIN memberships m ON m.user_id = u.id
LEFT JOIN organisations o ON o.id = m.organisation_id
LEFT JOIN environments e ON e.organisation_id = o.id
WHERE u.id = $1
ORDER BY m.created_at, o.id, e.mode, e.created_at, e.id
