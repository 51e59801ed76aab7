-- Checks one request against one rate limit, atomically: GCRA, as a leaky bucket.
--
-- KEYS[1]  the bucket
-- ARGV     limit in requests, window in seconds, cost in requests (0 always fits), 1 to charge it or 0 to peek
-- returns  {1 if the request is admitted, otherwise 0; the level after it}
--
-- The level is a whole number of millionths of a request, so that a double holds it exactly. The bucket stores
-- "LEVEL AT": the level, and its time in microseconds of this server's clock. A request that is not admitted writes
-- nothing.
local limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] * 1e6
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
local level, at = 0, now

-- A value of another form counts as an empty bucket: a key that another program wrote must not stop the limits.
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'string' then
  local before, when = string.match(stored, '^(%d+) (%d+)$')
  -- After the clock was set back, nothing drains until it reaches AT again.
  if before then level, at = tonumber(before), tonumber(when) end
end

-- One request a second is one millionth a microsecond. Rounded up, so that the limit is never exceeded.
level = math.ceil(math.max(0, level - math.max(0, now - at) * limit / window))
if level + cost > limit * 1e6 then return {0, level} end
if cost > 0 and ARGV[4] == '1' then
  level, at = level + cost, math.max(now, at)
  -- Redis deletes the bucket once it is empty.
  local milliseconds = math.ceil((level * window / limit + at - now) / 1000)
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', level, at), 'PX', milliseconds)
end
return {1, level}
