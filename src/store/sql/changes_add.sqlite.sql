-- $1: JSON, one object a change.
INSERT INTO changes (number, organisation_id, key_id, hash, revoked, changed_at)
SELECT value ->> 'number', value ->> 'organisation', value ->> 'key', unhex(value ->> 'hash'), value ->> 'revoked',
       value ->> 'at'
FROM json_each($1)
