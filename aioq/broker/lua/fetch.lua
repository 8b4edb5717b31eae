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
--        jobs       8 each   entry_id, job_id, task, lane (its index), retries, deliveries, due,
--                            payload
--
-- This is the only place where a job changes hands from a queue to a worker, so a reply lost
-- on the way loses nothing: the job is in the worker's pending list and in its record.

local call = redis.call
local prefix = KEYS[1]
local worker, epoch, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local keep_ms = math.max(tonumber(ARGV[4]), 120000)
local FIRST_LANE = 5
local scan = room + 250 -- entries looked at: expired ones cost time too, and a call stays short

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

-- include now
-- include watch
-- include lane
-- include ring
-- include silence
-- include ready
-- include finish
-- include enqueued

if not has_lease(worker) then
  return { -1, 0, {}, {} }
end
if tonumber(call('HGET', prefix .. 'e', worker) or 0) > epoch then
  return redis.error_reply('ERR this fetch comes too late')
end

-- include promote

local jobs, size, dropped = {}, 0, {}

-- Take one entry: note it as running, or remove it where it must not run.
local function take(lane, index, entry)
  local entry_id, job_id, payload = entry[1], nil, nil
  if entry[2] and entry[2][1] == 'j' and entry[2][3] == 'p' then
    job_id, payload = entry[2][2], entry[2][4]
  end
  local key = prefix .. 'j:' .. (job_id or '')
  local record = call('HMGET', key, 's', 'i', 't', 'e', 'a', 'd', 'x', 'w', 'n')
  local ours = record[1] == 'q' and record[2] == entry_id
  if ours and not (record[7] and tonumber(record[7]) <= now_ms) then
    local deliveries = (record[5] or 0) + 1
    call('HSET', key, 's', 'r', 'o', worker, 'b', now_ms - enqueued(record[9], entry_id))
    jobs[size + 1], jobs[size + 2], jobs[size + 3] = entry_id, job_id, record[3]
    jobs[size + 4], jobs[size + 5], jobs[size + 6] = index - 1, tonumber(record[4] or 0), deliveries
    jobs[size + 7], jobs[size + 8] = tonumber(record[6] or 0), payload
    size = size + 8
    room = room - 1
    return
  end
  call('XACK', prefix .. 's:' .. lane, 'w', entry_id)
  call('XDEL', prefix .. 's:' .. lane, entry_id)
  if ours then
    call('DEL', prefix .. 'v:' .. job_id) -- the error of an earlier try
    finish(job_id, 'x', 'expired', keep_ms, record[8], enqueued(record[9], entry_id))
  else
    dropped[#dropped + 1] = lane .. ' ' .. entry_id
  end
end

local function read(lane, most)
  local stream = prefix .. 's:' .. lane
  local reply = redis.pcall('XREADGROUP', 'GROUP', 'w', worker, 'COUNT', most, 'STREAMS', stream, '>')
  if reply and reply.err then
    if not string.find(reply.err, 'NOGROUP', 1, true) then
      return reply
    end
    -- From 0, so that what arrived before the group is not skipped.
    call('XGROUP', 'CREATE', stream, 'w', '0', 'MKSTREAM')
    call('SADD', prefix .. 'ss', lane)
    reply = call('XREADGROUP', 'GROUP', 'w', worker, 'COUNT', most, 'STREAMS', stream, '>')
  end
  return reply and reply[1][2] or {}
end

local filled = call('SMISMEMBER', prefix .. 'l', unpack(ARGV, FIRST_LANE))
local empty, rest, suspects = {}, {}, 0
for index, flag in ipairs(filled) do
  local lane = ARGV[FIRST_LANE + index - 1]
  local queue = queue_of(lane)
  if empty[queue] == nil then empty[queue] = true end
  if flag == 1 then
    local exhausted = false
    local is_suspect = string.byte(lane, -1) == 122
    local before = size
    while room > 0 and scan > 0 and not exhausted do
      if is_suspect and suspects > 0 then break end
      local asked = is_suspect and 1 or room
      local entries = read(lane, asked)
      if entries.err then
        if size == 0 then return entries end
        break -- what was taken so far must reach the worker; the error comes next time
      end
      for _, entry in ipairs(entries) do take(lane, index, entry) end
      exhausted = #entries < asked
      scan = scan - #entries
      if is_suspect and size > before then suspects = 1 end
    end
    if exhausted then
      call('SREM', prefix .. 'l', lane)
    else
      empty[queue] = false
      rest[queue] = true
    end
  end
end

-- Tokens of an empty queue wake nobody for anything, but for suspects that were not asked for here;
-- a queue with a rest wakes one more worker.
for queue, is_empty in pairs(empty) do
  if is_empty and call('SMISMEMBER', prefix .. 'l', queue .. ':z')[1] == 0 then
    call('DEL', prefix .. 'b:' .. queue)
  end
end
for queue in pairs(rest) do ring(queue, 1) end

local head = call('ZRANGE', prefix .. 'd', 0, 0, 'WITHSCORES')
return { time[1] * 1000000 + time[2], tonumber(head[2] or 0), dropped, jobs }
