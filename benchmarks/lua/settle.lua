-- Finish a batch of deliveries in one call: store the results, tell who waits, acknowledge, delete.
--
-- KEYS[1]   the stream
-- ARGV[1]   the consumer group
-- ARGV[2]   how long a result lives, in ms
-- ARGV[3…]  for each delivery: its entry id, its result, its reply channel ("" = nobody waits)
-- REPLY     how many deliveries were still pending
local stream = KEYS[1]
local group, result_ms = ARGV[1], ARGV[2]

local ids = {}
for i = 3, #ARGV, 3 do
  local id, result, channel = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  ids[#ids + 1] = id
  redis.call('SET', 'result:' .. id, result, 'PX', result_ms)
  if channel ~= '' then
    redis.call('PUBLISH', channel, id .. ' ' .. result)
  end
end
local settled = redis.call('XACK', stream, group, unpack(ids))
redis.call('XDEL', stream, unpack(ids))
return settled
