SELECT CAST(coalesce(sum(s.event_count), 0) AS BIGINT)
FROM sources s
JOIN environments e ON e.id = s.environment_id
WHERE e.organisation_id = $1 AND (CAST($2 AS TEXT) IS NULL OR s.name = $2)
  AND (CAST($3 AS BIGINT) IS NULL OR s.environment_id = $3)
