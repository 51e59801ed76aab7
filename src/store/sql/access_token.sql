SELECT f.user_id, f.organisation_id
FROM tokens t
JOIN token_families f ON f.id = t.family_id
WHERE t.hash = $1 AND t.kind = 'access' AND t.expires_at > $2 AND f.ended_at IS NULL
