SELECT v.uuid, s.name AS source, k.uuid AS key_uuid, k.name AS key_name, v.received_at,
       CAST(octet_length(v.body) AS BIGINT) AS size
FROM events v
JOIN sources s ON s.id = v.source_id
JOIN keys k ON k.id = v.key_id
WHERE v.organisation_id = $1 AND v.uuid = $2
