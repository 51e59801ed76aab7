SELECT uses FROM usage_log WHERE part = $1
