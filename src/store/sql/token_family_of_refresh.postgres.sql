-- The lock waits for a running sign-out or password reset, and then sees that the family has ended.
SELECT t.family_id, f.user_id, u.email, t.used_at, t.expires_at, f.ended_at
FROM tokens t
JOIN token_families f ON f.id = t.family_id
JOIN users u ON u.id = f.user_id
WHERE t.hash = $1 AND t.kind = 'refresh'
FOR NO KEY UPDATE OF f
