-- $1: JSON, one object for each change.
INSERT INTO changes (number, organisation_id, key_id, hash, revoked, changed_at, token, previous, organisation_number)
SELECT value ->> 'number', value ->> 'organisation', value ->> 'key', unhex(value ->> 'hash'), value ->> 'revoked',
       value ->> 'at', value ->> 'token', value ->> 'previous', value ->> 'organisation_number'
FROM json_each($1)
