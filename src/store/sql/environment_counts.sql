SELECT count(*), count(revoked_at) FROM keys WHERE environment_id = $1
