-- End the pause of a queue, and wake workers for what waits there.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   queue      text
-- REPLY  changed    int      1: it was paused; 0: it was not

local call = redis.call
local prefix = KEYS[1]
local queue = ARGV[1]
local ENOUGH = 16 -- tokens on a doorbell

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

-- include lane
-- include ring
-- include waiting

local changed = call('SREM', prefix .. 'qp', queue)
if changed == 0 then return 0 end
local jobs = 0
for _, lane in ipairs(call('SMEMBERS', prefix .. 'l')) do
  if queue_of(lane) == queue then jobs = jobs + waiting(lane) end
end
if jobs > 0 then ring(queue, math.min(jobs, ENOUGH)) end
return 1
