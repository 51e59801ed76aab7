-- $1: JSON, an array for each place: environment, and the maker of the key (a person) or null.
SELECT e.id, CAST(p.value ->> 1 AS BIGINT) AS user_id, m.role, e.archived_at, o.deleted_at
FROM jsonb_array_elements(CAST($1 AS jsonb)) AS p (value)
JOIN environments e ON e.id = CAST(p.value ->> 0 AS BIGINT)
JOIN organisations o ON o.id = e.organisation_id
LEFT JOIN memberships m ON m.user_id = CAST(p.value ->> 1 AS BIGINT) AND m.organisation_id = e.organisation_id
