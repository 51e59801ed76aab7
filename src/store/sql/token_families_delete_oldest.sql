-- $2: a family that stays; $3: the number of other families of the account that stay. Ended families are deleted first.
DELETE FROM token_families
WHERE user_id = $1 AND id IN (
  SELECT id FROM token_families
  WHERE user_id = $1 AND id <> $2
  ORDER BY ended_at IS NULL DESC, created_at DESC, id
  LIMIT 1000000 OFFSET $3)
