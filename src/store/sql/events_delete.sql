DELETE FROM events
WHERE source_id = $1 AND uuid IN (SELECT v.uuid FROM events v WHERE v.source_id = $1 AND v.uuid < $2 LIMIT $3)
RETURNING CAST(octet_length(body) AS BIGINT)
