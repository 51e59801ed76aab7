-- $2: the number of tokens of each kind that a family keeps.
DELETE FROM tokens
WHERE family_id = $1 AND hash IN (
  SELECT hash
  FROM (SELECT hash, row_number() OVER (PARTITION BY kind ORDER BY expires_at DESC, hash) AS place
        FROM tokens
        WHERE family_id = $1) AS placed
  WHERE place > $2)
