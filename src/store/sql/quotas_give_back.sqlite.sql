-- $1: JSON, one object for each key. Parts of another month are ignored.
UPDATE keys
SET quota_used = quota_used - given.requests
FROM (SELECT value ->> 'id' AS id, value ->> 'month' AS month, value ->> 'requests' AS requests FROM json_each($1)) AS given
WHERE keys.id = given.id AND keys.quota_month = given.month AND keys.quota_used >= given.requests
