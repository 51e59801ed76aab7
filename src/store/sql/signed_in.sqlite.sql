-- $1: JSON, the hashes of session ids in hex. A row for each environment, or one row for a person without an
-- organisation.
SELECT s.id_hash, s.seen_at, s.user_id, u.email, m.role, m.created_at AS joined_at, o.id AS organisation_id, o.uuid,
       o.name AS organisation_name, e.id AS environment_id, e.name AS environment_name, e.mode,
       u.operator, e.archived_at
FROM sessions s
JOIN users u ON u.id = s.user_id
LEFT JOIN memberships m ON m.user_id = u.id
LEFT JOIN organisations o ON o.id = m.organisation_id AND o.deleted_at IS NULL
LEFT JOIN environments e ON e.organisation_id = o.id
WHERE s.id_hash IN (SELECT unhex(value) FROM json_each($1)) AND s.created_at > $2 AND s.seen_at > $3
ORDER BY m.created_at, o.id, e.archived_at IS NOT NULL, e.mode, e.created_at, e.id
