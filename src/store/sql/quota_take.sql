UPDATE keys SET quota_month = $2, quota_used = $3 WHERE id = $1
