-- $2: an organisation, or NULL for all; $3: a role that the maker may no longer give.
DELETE FROM invitations
WHERE created_by = $1 AND (CAST($2 AS BIGINT) IS NULL OR organisation_id = CAST($2 AS BIGINT)) AND role = $3
RETURNING id, organisation_id, email
