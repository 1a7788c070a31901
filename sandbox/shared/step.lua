-- One step: only for a node that knows every change. Admits the lane, counts it, and keeps the change.
-- KEYS: cluster, log, time, lanes, lane
-- ARGV: id of the cluster, changes that the node knows, how many to send it, lane (empty: none), its interval in us,
--       how many lanes are counted at most, change (empty: none)
-- Returns {"lost"}, {"behind", change...} or {"done", time in us, 1 or 0: accepted}.
local function digits(number)
  return string.format('%.0f', number)
end

if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return {'lost'}
end
local known, length = tonumber(ARGV[2]), redis.call('LLEN', KEYS[2])
if length < known then
  return {'lost'}
end
if length > known then
  local reply = redis.call('LRANGE', KEYS[2], known, known + tonumber(ARGV[3]) - 1)
  table.insert(reply, 1, 'behind')
  return reply
end

-- Redis' own clock, and never back, so that nodes agree on what came first.
local clock = redis.call('TIME')
local now = math.max(clock[1] * 1000000 + clock[2], tonumber(redis.call('GET', KEYS[3]) or '0'))
redis.call('SET', KEYS[3], digits(now))

if ARGV[4] ~= '' then
  local interval = tonumber(ARGV[5])
  local accepted = tonumber(redis.call('GET', KEYS[5]) or '0') <= now
  local packed = redis.call('HGET', KEYS[4], ARGV[4])
  -- interval, accepted, refused, shortest gap (-1: none yet), first, last
  local counts
  if packed then
    counts = cmsgpack.unpack(packed)
    local gap = now - counts[6]
    if counts[4] < 0 or gap < counts[4] then
      counts[4] = gap
    end
    counts[6] = now
  elseif redis.call('HLEN', KEYS[4]) < tonumber(ARGV[6]) then
    counts = {interval, 0, 0, -1, now, now}
  end
  if counts then
    local which = accepted and 2 or 3
    counts[which] = counts[which] + 1
    redis.call('HSET', KEYS[4], ARGV[4], cmsgpack.pack(counts))
  end
  if not accepted then
    return {'done', now, 0}
  end
  -- The exact moment is what counts; that the key expires only keeps idle lanes from gathering.
  redis.call('SET', KEYS[5], digits(now + interval), 'PX', math.ceil(interval / 1000) + 1)
end
if ARGV[7] ~= '' then
  redis.call('RPUSH', KEYS[2], digits(now) .. ' ' .. ARGV[7])
end
return {'done', now, 1}
