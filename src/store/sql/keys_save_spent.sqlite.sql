-- $1: JSON, one object for each key.
UPDATE keys
SET rate_until = spent.rate_until, quota_month = spent.quota_month, quota_used = spent.quota_used
FROM (SELECT value ->> 'id' AS id, value ->> 'rate_until' AS rate_until, value ->> 'quota_month' AS quota_month,
             value ->> 'quota_used' AS quota_used
      FROM json_each($1)) AS spent
WHERE keys.id = spent.id
