-- $1: JSON, an array for each place: environment, and the maker of the key (a person) or null.
SELECT e.id, p.value ->> 1 AS user_id, m.role, e.archived_at, o.deleted_at
FROM json_each($1) AS p
JOIN environments e ON e.id = p.value ->> 0
JOIN organisations o ON o.id = e.organisation_id
LEFT JOIN memberships m ON m.user_id = p.value ->> 1 AND m.organisation_id = e.organisation_id
