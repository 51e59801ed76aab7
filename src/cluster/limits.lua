-- One request against one limit, at once: a leaky bucket, which is what GCRA is.
--
-- KEYS[1]  the bucket
-- ARGV     limit in requests, window in seconds, cost in requests (0 always fits), 1 to take it and 0 to ask
-- answers  {1 when it is let through, otherwise 0; the level after that}
--
-- A level is in millionths of a request and whole, so that a double holds it exactly. The bucket keeps
-- "LEVEL AT", AT being the microsecond of this server's clock at which it was that. What is not let
-- through changes nothing, and is not written either.
local limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] * 1e6
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
local level, at = 0, now

-- What is no bucket is an empty one: a key that somebody else wrote must not stop the limits.
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'string' then
  local before, when = string.match(stored, '^(%d+) (%d+)$')
  -- A clock that was set back takes nothing off until it is where it was.
  if before then level, at = tonumber(before), tonumber(when) end
end

-- So many requests a second are as many millionths a microsecond. Rounded up: never more than the limit.
level = math.ceil(math.max(0, level - math.max(0, now - at) * limit / window))
if level + cost > limit * 1e6 then return {0, level} end
if cost > 0 and ARGV[4] == '1' then
  level, at = level + cost, math.max(now, at)
  -- It is forgotten when it is empty.
  local milliseconds = math.ceil((level * window / limit + at - now) / 1000)
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', level, at), 'PX', milliseconds)
end
return {1, level}
