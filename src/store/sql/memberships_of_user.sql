SELECT u.email, m.role, o.id AS organisation_id, o.uuid, o.name AS organisation_name,
       e.id AS environment_id, e.name AS environment_name, e.mode
FROM memberships m
JOIN users u ON u.id = m.user_id
JOIN organisations o ON o.id = m.organisation_id
JOIN environments e ON e.organisation_id = o.id
WHERE m.user_id = $1
ORDER BY m.created_at, o.id, e.mode, e.created_at, e.id
