SELECT id, name, version, sole, process, started_at, renewals, heard, redis FROM nodes ORDER BY started_at, id
