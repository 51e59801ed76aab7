-- A person who is a member already keeps their role.
INSERT INTO memberships (user_id, organisation_id, role, created_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, organisation_id) DO NOTHING
