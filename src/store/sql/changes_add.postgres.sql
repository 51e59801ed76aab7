-- $1: JSON, one object for each change.
INSERT INTO changes (number, organisation_id, key_id, hash, revoked, changed_at, token, previous, organisation_number)
SELECT number, organisation, key, decode(hash, 'hex'), revoked, at, token, previous, organisation_number
FROM jsonb_to_recordset(CAST($1 AS jsonb))
       AS c (number BIGINT, organisation BIGINT, key BIGINT, hash TEXT, revoked BIGINT, at BIGINT, token BIGINT,
             previous BIGINT, organisation_number BIGINT)
