UPDATE token_families SET ended_at = $4
WHERE id IN (SELECT family_id FROM tokens WHERE hash IN ($1, $2)) AND user_id = $3 AND ended_at IS NULL
