SELECT e.id, e.organisation_id, e.event_days, e.event_limit,
       CAST(sum(s.event_count) AS BIGINT) AS event_count, CAST(sum(s.event_bytes) AS BIGINT) AS event_bytes
FROM environments e
JOIN sources s ON s.environment_id = e.id
GROUP BY e.id, e.organisation_id, e.event_days, e.event_limit
HAVING sum(s.event_count) > 0
