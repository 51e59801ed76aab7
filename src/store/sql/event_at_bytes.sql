-- The oldest event that an environment keeps. $3: the bytes of the newest events that it keeps.
SELECT uuid
FROM (SELECT v.uuid, sum(octet_length(v.body)) OVER (ORDER BY v.uuid DESC) AS bytes
      FROM events v
      JOIN sources s ON s.id = v.source_id
      WHERE v.organisation_id = $1 AND s.environment_id = $2) AS newest
WHERE bytes <= $3
ORDER BY uuid
LIMIT 1
