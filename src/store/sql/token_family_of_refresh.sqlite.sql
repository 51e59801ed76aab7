SELECT t.family_id, f.user_id, u.email, t.used_at, t.expires_at, f.ended_at
FROM tokens t
JOIN token_families f ON f.id = t.family_id
JOIN users u ON u.id = f.user_id
WHERE t.hash = $1 AND t.kind = 'refresh'
