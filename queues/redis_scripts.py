"""Lua scripts of the Redis backend: what must happen in one step. Each opens with its keys, their types and meaning."""

from typing import Final

# ---- work streams

ADD: Final = """
-- KEYS[1]  stream  a work stream
-- ARGV     for each item: how many words its fields and values are, then these
-- One command and one reply for the whole batch: half the client's time of a pipeline of XADDs.
local at = 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + words))
  at = at + words + 1
end
"""

CLAIM: Final = """
-- KEYS[1]  stream  a work stream; its consumer group is ARGV[1]
-- ARGV     group, consumer, idle in ms, count
-- Returns [[id, [field, value, ...], times delivered], ...]; an empty list if the group does not exist.
-- XAUTOCLAIM does not tell how often an entry was delivered, XPENDING does: both in one step.
-- A scan looks at no more than 10 * count entries, so it is repeated until it has come round.
local group, consumer, idle, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local claimed, cursor = {}, '0-0'
if redis.call('EXISTS', KEYS[1]) == 0 then return claimed end
repeat
  local reply = redis.pcall('XAUTOCLAIM', KEYS[1], group, consumer, idle, cursor, 'COUNT', count - #claimed)
  if reply.err then
    if string.find(reply.err, 'NOGROUP', 1, true) then return claimed end
    return reply
  end
  cursor = reply[1]
  for _, entry in ipairs(reply[2]) do
    local pending = redis.call('XPENDING', KEYS[1], group, entry[1], entry[1], 1)
    table.insert(claimed, {entry[1], entry[2], pending[1][4]})
  end
until cursor == '0-0' or #claimed >= count
return claimed
"""

# ---- agent queues

PUSH: Final = """
-- KEYS     pairs: stream  an agent's queue, entries {e: epoch, m: JSON message}
--                 string  the queue's epoch: made anew whenever the stream is made anew
-- ARGV     epoch to use where one is needed, entries to keep, seconds to live, then one message a pair
-- Returns  the entries' ids as 'epoch.id'
local ids = {}
for pair = 1, #KEYS / 2 do
  local queue, epoch_key = KEYS[2 * pair - 1], KEYS[2 * pair]
  local epoch = redis.call('GET', epoch_key)
  if not epoch then
    epoch = ARGV[1]
  end
  local id = redis.call('XADD', queue, 'MAXLEN', '~', ARGV[2], '*', 'e', epoch, 'm', ARGV[3 + pair])
  redis.call('SET', epoch_key, epoch, 'EX', ARGV[3])
  redis.call('EXPIRE', queue, ARGV[3])
  table.insert(ids, epoch .. '.' .. id)
end
return ids
"""

TAIL: Final = """
-- KEYS[1]  stream  an agent's queue
-- KEYS[2]  string  the queue's epoch
-- ARGV     epoch to use if the queue has none, seconds to live
-- Returns  the newest entry's id as 'epoch.id'; 'epoch.0-0' for an empty queue
if redis.call('EXISTS', KEYS[1]) == 0 then
  local epoch = redis.call('GET', KEYS[2])
  if not epoch then
    epoch = ARGV[1]
    redis.call('SET', KEYS[2], epoch, 'EX', ARGV[2])
  end
  return epoch .. '.0-0'
end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return newest[2][2] .. '.' .. newest[1]
"""

HORIZON: Final = """
-- KEYS[1]  stream  an agent's queue
-- KEYS[2]  string  the queue's epoch
-- Returns  the epoch ('' if there is none), the oldest entry's id ('' if there is none), how many were trimmed
local epoch = redis.call('GET', KEYS[2]) or ''
if redis.call('EXISTS', KEYS[1]) == 0 then return {epoch, '', 0} end
local info, trimmed = redis.call('XINFO', 'STREAM', KEYS[1]), 0
for field = 1, #info, 2 do
  if info[field] == 'entries-added' then trimmed = trimmed + info[field + 1] end
  if info[field] == 'length' then trimmed = trimmed - info[field + 1] end
end
return {epoch, redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1], trimmed}
"""

# ---- presence

BEAT: Final = """
-- KEYS[1]  sorted set  members [agent id, connection id] as JSON, scored by the server's time of expiry in ms
-- ARGV     member, time to live in ms
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
"""

PRESENT: Final = """
-- KEYS[1]  sorted set  members [agent id, connection id] as JSON, scored by the server's time of expiry in ms
-- Returns  the members that have not expired; the others are dropped
local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000 + math.floor(now[2] / 1000))
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""

# ---- lease

ACQUIRE_LEASE: Final = """
-- KEYS[1]  string  the lease: 'token holder', expires with it; absent: free
-- KEYS[2]  string  the newest token granted for this name; never expires
-- ARGV     holder, time to live in ms, a token that the new one must exceed
-- Returns  the new token; nil if the lease is held
if redis.call('EXISTS', KEYS[1]) == 1 then return nil end
local known = tonumber(redis.call('GET', KEYS[2]) or '0')
local token = math.max(known, tonumber(ARGV[3])) + 1
redis.call('SET', KEYS[2], string.format('%.0f', token))
redis.call('SET', KEYS[1], string.format('%.0f ', token) .. ARGV[1], 'PX', ARGV[2])
return token
"""

RENEW_LEASE: Final = """
-- KEYS[1]  string  the lease: 'token holder'
-- ARGV     'token holder' of who asks, time to live in ms
-- Returns  1 if it was prolonged, 0 if it is no longer theirs
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

RELEASE_LEASE: Final = """
-- KEYS[1]  string  the lease: 'token holder'
-- ARGV     'token holder' of who asks
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
