-- Promote what is due, then hand out jobs from the lanes, in the order given.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   worker     text     the consumer; it must hold a lease
--        epoch      int      grows when a reply was lost; an older fetch comes too late
--        room       int      at most this many jobs
--        keep_ms    int      how long an expired job is kept, 120 s at least
--        lanes      1 each   queue:priority, best first; queue:z has its suspects, of which one
--                            is handed out, and none where no such lane is asked for
-- REPLY  now_us     int      the server's clock, in microseconds; -1: this worker holds no lease
--        next_ms    int      when the next delayed job is due; 0: none is
--        dropped    list     entries that are no jobs of ours, removed
--        passed     int      1: jobs of a lower priority than one that was taken wait on
--        jobs       8 each   entry_id, job_id, task, lane (its index, and the number of lanes more
--                            where the job has passed its gate), retries, deliveries, due, payload
--
-- This is the only place where a job changes hands from a queue to a worker, so a reply lost
-- on the way loses nothing: the job is in the worker's pending list and in its record.

local call = redis.call
local prefix = KEYS[1]
local worker, epoch, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local keep_ms = math.max(tonumber(ARGV[4]), 120000)
local FIRST_LANE = 5
local PROMOTED = 200 -- delayed jobs and gates per call
local lanes = #ARGV - FIRST_LANE + 1
local scan = room + 250 -- jobs looked at: expired ones cost time too, and a call stays short

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

-- include now
-- include watch
-- include lane
-- include ring
-- include event
-- include finish
-- include enqueued
-- include take
-- include follow

function make_gates()
  -- include park
  -- include bucket
  -- include slots
  -- include yield
  -- include fresh
  -- include turns
  -- include rank
  -- include gate
  -- include overlooked
  -- include lapse
  return { take = take_gates, look_again = look_again, lapse = lapse }
end

if not has_lease(worker) then
  return { -1, 0, {}, 0, {} }
end
if tonumber(call('HGET', prefix .. 'e', worker) or 0) > epoch then
  return redis.error_reply('ERR this fetch comes too late')
end

local due = call('ZRANGEBYSCORE', prefix .. 'd', '-inf', now_ms, 'LIMIT', 0, PROMOTED)
if #due > 0 then
  -- include silence
  -- include ready
  -- include park
  -- include promote
  promote_due(due)
end

-- include paused

local filled = call('SMISMEMBER', prefix .. 'l', unpack(ARGV, FIRST_LANE))
local empty, rest, has_suspect = {}, {}, false
local highest, passed = -1, 0 -- the best priority that was taken from
for index, flag in ipairs(filled) do
  local lane = ARGV[FIRST_LANE + index - 1]
  local queue = queue_of(lane)
  if empty[queue] == nil then empty[queue] = true end
  if flag == 1 and not is_paused[queue] then
    local level = tonumber(string.sub(lane, -1)) -- nil: suspects
    local before, exhausted, failure = size, false, nil
    if level then
      exhausted, failure = take_lane(lane, index - 1, room)
      if size > before then highest = math.max(highest, level) end
    elseif not has_suspect then
      exhausted, failure = take_lane(lane, index - 1, math.min(room, 1))
      has_suspect = size > before
    end
    if failure and size == 0 then -- else it comes again, and the jobs must not wait
      write_events()
      return failure
    end
    if exhausted then
      call('SREM', prefix .. 'l', lane)
    else
      empty[queue] = false
      rest[queue] = true
      if level and level < highest then passed = 1 end
    end
  end
end

-- Tokens of an empty queue wake nobody for anything, but for suspects that were not asked for here;
-- a queue with a rest wakes one more worker.
if gates then -- a gate may have woken another, of a lane that was done with
  for index, flag in ipairs(call('SMISMEMBER', prefix .. 'l', unpack(ARGV, FIRST_LANE))) do
    if flag == 1 then empty[queue_of(ARGV[FIRST_LANE + index - 1])] = false end
  end
end
for queue, is_empty in pairs(empty) do
  if is_empty and call('SMISMEMBER', prefix .. 'l', queue .. ':z')[1] == 0 then
    call('DEL', prefix .. 'b:' .. queue)
    rings[queue] = nil
  end
end
for queue in pairs(rest) do ring_later(queue, 1) end
if size == 0 and room > 0 then
  local parked = {}
  for index = FIRST_LANE, #ARGV do parked[#parked + 1] = prefix .. 'hp:' .. ARGV[index] end
  local has_parked = call('EXISTS', unpack(parked)) > 0
  if has_parked then gates = gates or make_gates() end
  for index = FIRST_LANE, has_parked and #ARGV or 0 do
    if not is_paused[queue_of(ARGV[index])] then gates.look_again(ARGV[index]) end
  end
end
follow(call('EXISTS', prefix .. 'gl') == 1)
ring_all()
write_events()

local head = call('ZRANGE', prefix .. 'd', 0, 0, 'WITHSCORES')
return { time[1] * 1000000 + time[2], tonumber(head[2] or 0), dropped, passed, jobs }
