SELECT quota_month, quota_used FROM keys WHERE id = $1
