-- Keep a worker alive: its lease, its presence, and the word that its queues are served.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   worker     text
--        lease_ms   int      how long this beat is good for
--        presence   text     what the worker says of itself
--        queues     1 each   the queues it serves
-- REPLY  alive      int      1 the lease runs; 0 there is none, and it must not come back
--        overdue    int      workers whose lease has ended: somebody should reap them
--        revokes    list     running jobs of this worker that were revoked: entry id, space, job id

local call = redis.call
local prefix = KEYS[1]
local worker, lease_ms, presence = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local FIRST_QUEUE = 4

-- include now
-- include lane
-- include ring
-- include watch

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
watch(lease_ms)
if not has_lease(worker) then
  return { 0, 0, {} }
end
call('ZADD', prefix .. 'lw', now_ms + lease_ms, worker)
call('SET', prefix .. 'w:' .. worker, presence, 'PX', lease_ms * 10)
for index = FIRST_QUEUE, #ARGV do
  call('SET', prefix .. 'sv:' .. ARGV[index], '', 'PX', lease_ms * 2)
end

-- A token that went to a worker which froze, or whose host died, has woken nobody: ring again.
local function ring_again(queue)
  if call('LLEN', prefix .. 'b:' .. queue) == 0 then ring(queue, 1) end
end

-- include paused
for _, lane in ipairs(call('SMEMBERS', prefix .. 'l')) do
  if not is_paused[queue_of(lane)] then ring_again(queue_of(lane)) end
end
-- Also where its queue is paused: whoever comes promotes all that is due.
local head = call('ZRANGE', prefix .. 'd', 0, 0, 'WITHSCORES')
if head[2] and tonumber(head[2]) <= now_ms then
  local lane = string.match(head[1], '^(%S+) ') -- a gate says it, a job's record does
  ring_again(queue_of(lane or call('HGET', prefix .. 'j:' .. head[1], 'q') or COMMON_LANE))
end

-- A plan that was not sealed in time is given up, by whoever fetches next.
for _, root in ipairs(call('ZRANGEBYSCORE', prefix .. 'go', '-inf', now_ms, 'LIMIT', 0, 20)) do
  call('ZREM', prefix .. 'go', root)
  call('RPUSH', prefix .. 'gl', 'x ' .. root .. ' 0')
end
if call('EXISTS', prefix .. 'gl') == 1 and ARGV[FIRST_QUEUE] then ring_again(ARGV[FIRST_QUEUE]) end

local overdue = call('ZCOUNT', prefix .. 'lw', '-inf', now_ms)
return { 1, overdue, call('SMEMBERS', prefix .. 'cx:' .. worker) }
