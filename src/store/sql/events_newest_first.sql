SELECT v.uuid, s.name AS source, s.environment_id, k.id AS key_id, k.uuid AS key_uuid, k.name AS key_name,
       k.prefix AS key_prefix, v.received_at, CAST(octet_length(v.body) AS BIGINT) AS size
FROM events v
JOIN sources s ON s.id = v.source_id
JOIN keys k ON k.id = v.key_id
WHERE v.organisation_id = $1
  AND (CAST($2 AS TEXT) IS NULL OR s.name = $2)
  AND ($3 IS NULL OR k.uuid = $3)
  AND v.uuid >= $4 AND v.uuid < $5
  AND (CAST($8 AS BIGINT) IS NULL OR s.environment_id = $8)
ORDER BY v.uuid DESC
LIMIT $6 OFFSET $7
