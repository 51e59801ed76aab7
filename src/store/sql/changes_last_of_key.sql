-- The last number of the transaction that last changed a key: the number before the first of the next transaction.
SELECT COALESCE(
  (SELECT n.number - 1 FROM changes n WHERE n.number > c.number AND n.token <> c.token ORDER BY n.number LIMIT 1),
  (SELECT number FROM changes_last WHERE id = 1))
FROM changes c
WHERE c.key_id = $1
ORDER BY c.number DESC
LIMIT 1
