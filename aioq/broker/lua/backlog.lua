-- Count what waits in some lanes for a worker: ready, or delayed and due.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   lanes      1 each   queue:priority
-- REPLY  jobs       int
--
-- Whatever nobody may take now is left out: jobs of paused queues, jobs held by limits.

local call = redis.call
local prefix = KEYS[1]
local MOST = 250

-- include now
-- include lane
-- include waiting

local is_open = {}
for _, lane in ipairs(ARGV) do is_open[queue_of(lane)] = true end
for _, queue in ipairs(call('SMEMBERS', prefix .. 'qp')) do is_open[queue] = false end

local jobs = call('LLEN', prefix .. 'gl') -- who comes for jobs does these errands
local due = call('ZRANGEBYSCORE', prefix .. 'd', '-inf', now_ms, 'LIMIT', 0, MOST)
for _, member in ipairs(due) do
  local is_gate = string.find(member, ' ', 1, true)
  local lane = not is_gate and (call('HGET', prefix .. 'j:' .. member, 'q') or COMMON_LANE)
  if lane and is_open[queue_of(lane)] then jobs = jobs + 1 end
end
-- So many have yet to be promoted that more jobs may be among the rest.
if #due == MOST then jobs = jobs + call('ZCOUNT', prefix .. 'd', '-inf', now_ms) - MOST + 1 end
for _, lane in ipairs(ARGV) do
  if is_open[queue_of(lane)] then jobs = jobs + waiting(lane) end
end
return jobs
