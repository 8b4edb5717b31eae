-- Count what queues hold: ready, held by limits and running, and how long the oldest has waited.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   queues     1 each
-- REPLY  facts      5 each   depth, held, running, age, paused
--
-- depth  ready to be taken, suspects among them
-- age    ms, of the oldest job that is ready or held; -1: there is none
-- paused 1 or 0
--
-- The work is that of eleven lanes a queue, whatever they hold.

local call = redis.call
local prefix = KEYS[1]
local queues = ARGV
local LEVELS = '0123456789z'

-- include now
-- include group

-- When the first entry that nobody has got came into its lane.
local function oldest_entry(lane)
  local group = group_of(lane)
  local start = group and '(' .. group['last-delivered-id'] or '-'
  local entry = call('XRANGE', prefix .. 's:' .. lane, start, '+', 'COUNT', 1)[1]
  return entry and tonumber(string.match(entry[1], '^%d+'))
end

local facts = {}
for _, queue in ipairs(queues) do
  local depth, held, running, oldest_ms = 0, 0, 0, now_ms + 1
  for level in string.gmatch(LEVELS, '.') do
    local lane = queue .. ':' .. level
    local size = call('XLEN', prefix .. 's:' .. lane)
    local delivered = size > 0 and group_of(lane) and group_of(lane).pending or 0
    if size > delivered then
      oldest_ms = math.min(oldest_ms, oldest_entry(lane) or oldest_ms)
    end
    local through_gates = group_of(lane .. 'h')
    local first = call('ZRANGE', prefix .. 'hp:' .. lane, 0, 0, 'WITHSCORES')
    if first[2] then oldest_ms = math.min(oldest_ms, tonumber(first[2])) end
    depth = depth + size - delivered
    held = held + call('ZCARD', prefix .. 'hp:' .. lane)
    running = running + delivered + (through_gates and through_gates.pending or 0)
  end
  local size = #facts
  facts[size + 1], facts[size + 2], facts[size + 3] = depth, held, running
  facts[size + 4] = oldest_ms > now_ms and -1 or now_ms - oldest_ms
  facts[size + 5] = call('SISMEMBER', prefix .. 'qp', queue)
end
return facts
