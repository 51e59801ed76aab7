-- $2, $3: the moment and the person after whom the page begins. The keys are counted for the rows of the page only.
SELECT m.user_id, u.email, m.role, m.created_at, u.seen_at,
       (SELECT count(*) FROM keys k
        WHERE k.created_by = m.user_id AND k.organisation_id = m.organisation_id AND k.revoked_at IS NULL) AS active_keys
FROM memberships m
JOIN users u ON u.id = m.user_id
WHERE m.organisation_id = $1 AND (m.created_at, m.user_id) > ($2, $3)
ORDER BY m.created_at, m.user_id
LIMIT $4
