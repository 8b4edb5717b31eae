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

local is_paused = {}
for _, queue in ipairs(call('SMEMBERS', prefix .. 'qp')) do is_paused[queue] = true end

local jobs = 0
local due = call('ZRANGEBYSCORE', prefix .. 'd', '-inf', now_ms, 'LIMIT', 0, MOST)
for _, member in ipairs(due) do
  local is_gate = string.find(member, ' ', 1, true)
  if not is_gate then jobs = jobs + 1 end
end
-- So many have yet to be promoted that more jobs may be among the rest.
if #due == MOST then jobs = jobs + call('ZCOUNT', prefix .. 'd', '-inf', now_ms) - MOST end
for _, lane in ipairs(ARGV) do
  if not is_paused[queue_of(lane)] then jobs = jobs + waiting(lane) end
end
return jobs
