SELECT count(*)
FROM events v
JOIN sources s ON s.id = v.source_id
JOIN keys k ON k.id = v.key_id
WHERE v.organisation_id = $1
  AND (CAST($2 AS TEXT) IS NULL OR s.name = $2)
  AND ($3 IS NULL OR k.uuid = $3)
  AND v.uuid >= $4 AND v.uuid < $5
  AND (CAST($6 AS BIGINT) IS NULL OR s.environment_id = $6)
