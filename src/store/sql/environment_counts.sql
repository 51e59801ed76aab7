SELECT count(*) AS keys, count(revoked_at) AS revoked FROM keys WHERE environment_id = $1
