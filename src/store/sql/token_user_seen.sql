-- $1: a refresh token that was not used yet.
UPDATE users SET seen_at = $2
WHERE id = (SELECT f.user_id
            FROM tokens t
            JOIN token_families f ON f.id = t.family_id
            WHERE t.hash = $1 AND t.kind = 'refresh' AND t.used_at IS NULL AND f.ended_at IS NULL)
  AND (seen_at IS NULL OR seen_at < $2)
