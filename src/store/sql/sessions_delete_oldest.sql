-- $2: a session that stays; $3: the number of other sessions of the account that stay.
DELETE FROM sessions
WHERE user_id = $1 AND id_hash IN (
  SELECT id_hash FROM sessions
  WHERE user_id = $1 AND id_hash <> $2
  ORDER BY created_at DESC, seen_at DESC, id_hash
  LIMIT 1000000 OFFSET $3)
