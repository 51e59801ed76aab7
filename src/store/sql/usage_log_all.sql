SELECT id, part, uses FROM usage_log
