DELETE FROM usage_log WHERE part = $1
