DELETE FROM idempotency_keys
WHERE (source_id, text) IN (
  SELECT i.source_id, i.text
  FROM environments e
  JOIN sources s ON s.environment_id = e.id
  JOIN idempotency_keys i ON i.source_id = s.id
  WHERE e.organisation_id = $1
  LIMIT $2)
