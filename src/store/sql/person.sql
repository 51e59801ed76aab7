-- A row for each environment, or one row for a person without an organisation.
SELECT u.id AS user_id, u.email, m.role, m.created_at AS joined_at, o.id AS organisation_id, o.uuid,
       o.name AS organisation_name, e.id AS environment_id, e.name AS environment_name, e.mode,
       u.operator, e.archived_at
FROM users u
LEFT JOIN memberships m ON m.user_id = u.id
LEFT JOIN organisations o ON o.id = m.organisation_id AND o.deleted_at IS NULL
LEFT JOIN environments e ON e.organisation_id = o.id
WHERE u.id = $1
ORDER BY m.created_at, o.id, e.archived_at IS NOT NULL, e.mode, e.created_at, e.id
