SELECT i.id, i.organisation_id, o.name AS organisation_name, i.email, i.role,
       (SELECT u.id FROM users u WHERE u.email = i.email) AS user_id
FROM invitations i
JOIN organisations o ON o.id = i.organisation_id
JOIN users m ON m.id = i.created_by
WHERE i.token_hash = $1 AND i.expires_at > $2 AND o.deleted_at IS NULL AND m.disabled_at IS NULL
