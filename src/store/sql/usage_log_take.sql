DELETE FROM usage_log RETURNING id, part, uses
