SELECT part, uses FROM usage_log
