-- Joins the cluster, or begins it when there is none.
-- KEYS: cluster, log, time, lanes, answers
-- ARGV: id for a new cluster, settings as digests
-- Returns {id, settings, start in us}.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2], KEYS[4], KEYS[5])
  local clock = redis.call('TIME')
  local now = math.max(clock[1] * 1000000 + clock[2], tonumber(redis.call('GET', KEYS[3]) or '0'))
  local start = string.format('%.0f', now)
  redis.call('SET', KEYS[3], start)
  redis.call('HSET', KEYS[1], 'id', ARGV[1], 'settings', ARGV[2], 'start', start)
end
return redis.call('HMGET', KEYS[1], 'id', 'settings', 'start')
