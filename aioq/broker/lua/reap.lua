-- Take over deliveries whose worker is dead, or has left, from its own pending lists.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   worker     text     this one, whose end was seen; '' all whose lease has ended
--        is_crash   0 or 1   0: it left in good order, so nothing is counted against its jobs
--        lease_ms   int      the lease of whoever reaps
--        most       int      deliveries per call, so that it stays short
--        dead_ms    int      how long a dead letter is kept
--        dead_max   int      how many dead letters are kept
-- REPLY  taken      int      deliveries that were taken over
--        rest       int      1: there is more to do, call again
--        workers    list     those that are reaped to the end
--
-- While a worker lives its lease is renewed, so this is the only place where a job can begin to
-- run twice.  From its first call on the lease ends at 0: the worker cannot renew it any more, and
-- what it still says of these jobs is refused, because each gets a new entry or has ended.

local call = redis.call
local prefix = KEYS[1]
local named, is_crash, lease_ms = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])
local room, dead_ms, dead_max = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local WORKERS_PER_CALL = 4

-- include now
-- include lane
-- include record
-- include ring
-- include ready
-- include delay
-- include event
-- include finish
-- include enqueued
-- include park
-- include slots
-- include again
-- include bury
-- include crash
-- include revoked
-- include follow
-- include silence
-- include stream
-- include watch

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
local dead = { named }
if named == '' then
  if watch(lease_ms) then return { 0, 0, {} } end
  dead = call('ZRANGEBYSCORE', prefix .. 'lw', '-inf', now_ms, 'LIMIT', 0, WORKERS_PER_CALL)
end

local function lost(worker)
  return function(crashes, limit)
    local text = 'the worker ' .. worker .. ' died while it ran the job'
    if limit == '0' then
      text = text .. '; with acks_late=False a job is run at most once'
    else
      text = text .. ' (death ' .. crashes .. ' of max_crashes=' .. limit .. ')'
    end
    return cmsgpack.pack({ 'aioq.core.errors.WorkerLost', text })
  end
end

-- A job that waited inside the worker, for a thread or a process, has crashed nothing.
local function has_started(job_id, record)
  return record[STATE] == 'r' and call('HGET', prefix .. 'j:' .. job_id, 'm') ~= 'v'
end

local function take_over(worker, lane, entry_id)
  local stream = prefix .. 's:' .. lane
  local entry = call('XRANGE', stream, entry_id, entry_id)[1]
  call('XACK', stream, 'w', entry_id)
  call('XDEL', stream, entry_id)
  local job_id = entry and entry[2][2]
  local record = job_id and read_record(job_id)
  if not record or record[TOKEN] ~= entry_id or has_ended(record[STATE]) then return end
  local payload = entry[2][4] or ''
  release(job_id, record[HOLDS])
  if record[REVOKE] then
    revoked(job_id, record, tonumber(record[REVOKE]))
  elseif not is_crash or not has_started(job_id, record) then
    again(job_id, record, now_ms, payload)
  else
    crash(job_id, record, payload, lost(worker))
  end
end

local lanes, taken, rest, reaped, broken = call('SMEMBERS', prefix .. 'ss'), 0, 0, {}, nil
for _, worker in ipairs(dead) do
  call('ZADD', prefix .. 'lw', 'XX', 0, worker)
  for _, lane in ipairs(lanes) do
    local pending = redis.pcall('XPENDING', prefix .. 's:' .. lane, 'w', '-', '+', room + 1, worker)
    if pending.err and string.find(pending.err, 'NOGROUP', 1, true) then
      call('SREM', prefix .. 'ss', lane) -- the stream, or its group, was flushed away
    elseif pending.err then
      broken = pending -- said in the end: what the other lanes hold is taken over all the same
    else
      for n = 1, math.min(#pending, room) do take_over(worker, lane, pending[n][1]) end
      taken = taken + math.min(#pending, room)
      if #pending > room then rest = 1 end
      room = math.max(room - #pending, 0)
    end
  end
  if rest == 1 or broken then break end
  for _, lane in ipairs(lanes) do
    -- Now that it holds nothing: deleting a consumer drops its pending entries.
    redis.pcall('XGROUP', 'DELCONSUMER', prefix .. 's:' .. lane, 'w', worker)
    remove_if_empty(lane)
  end
  call('ZREM', prefix .. 'lw', worker)
  call('HDEL', prefix .. 'e', worker)
  call('DEL', prefix .. 'w:' .. worker, prefix .. 'cx:' .. worker)
  reaped[#reaped + 1] = worker
end
if #dead == WORKERS_PER_CALL then rest = 1 end
trim()
follow()
ring_all()
write_events()
return broken or { taken, rest, reaped }
