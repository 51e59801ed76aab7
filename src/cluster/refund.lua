-- Refunds one request that limits.lua has charged.
--
-- KEYS[1]  the bucket, as limits.lua stores it; a missing bucket is empty already
local stored = redis.pcall('GET', KEYS[1])
if type(stored) ~= 'string' then return 0 end
local level, at = string.match(stored, '^(%d+) (%d+)$')
if not level then return 0 end
redis.call('SET', KEYS[1], string.format('%.0f %s', math.max(0, tonumber(level) - 1e6), at), 'KEEPTTL')
return 1
