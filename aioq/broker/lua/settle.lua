-- The last word on deliveries: complete, retry, give back or bury, each only by its token.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   count      int      number of deliveries
--        dead_ms    int      how long a dead letter is kept
--        dead_max   int      how many dead letters are kept
--        outcomes   5 each   job_id, entry_id, op, argument, value
-- REPLY  verdicts   text     per delivery: K accepted, D it was settled before, S stale, G gone
--
-- op     argument   value
-- c      keep_ms    result   the task returned
-- r      due        error    run again when due; one retry is used up
-- f                 error    bury
-- n      due                 give back: run again when due, nothing is counted
-- u      patience   error    nobody here knows the task: offer it around, bury in the end
-- l                 error    the process that ran it died, the worker did not: a crash
-- s      due        waits    run again when due ('' never), or when what it waits for has come
-- p      holds               it was not held by its limits: it waits for them, and nothing is counted
--
-- A delivery whose entry is not the record's current one was taken over: its word is refused
-- (S, the fence of G2).  A verdict of D makes a settle that is sent again harmless.  Where a revoke
-- is recorded the job ends as REVOKED, whatever its run came to.

local call = redis.call
local prefix = KEYS[1]
local count, dead_ms, dead_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local FIRST, STRIDE = 4, 5

-- include now
-- include lane
-- include record
-- include moment
-- include ring
-- include ready
-- include delay
-- include event
-- include finish
-- include enqueued
-- include held
-- include again
-- include bury
-- include crash
-- include revoked
-- include follow

-- First pass: read and judge; nothing is written.
local verdicts, records, payloads, acks, numbers = {}, {}, {}, {}, {}
local judged, told = {}, {}
for index = 1, count do
  local at = FIRST + (index - 1) * STRIDE
  local job_id, entry_id, op, argument = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if op == 'r' or op == 'n' or (op == 's' and argument ~= '') then
    numbers[index] = moment(argument)
  elseif op == 'c' or op == 'u' then
    numbers[index] = whole(argument)
  elseif op == 'f' or op == 'l' or op == 's' or (op == 'p' and argument ~= '') then
    numbers[index] = 0
  end
  if not numbers[index] then
    return redis.error_reply('ERR outcome ' .. op .. ' ' .. argument .. ' of job ' .. job_id)
  end
  local record = read_record(job_id)
  local state = record[STATE]
  if not state then
    verdicts[index] = 'G'
  elseif has_ended(state) or judged[job_id] == entry_id then
    verdicts[index] = 'D'
    if state == 'x' then told[#told + 1] = at end
  elseif record[TOKEN] ~= entry_id then
    verdicts[index] = 'S'
  elseif state ~= 'r' and state ~= 'q' then
    verdicts[index] = 'D'
  else
    verdicts[index] = 'K'
    judged[job_id] = entry_id
    records[index] = record
    local place = place_of(record[LANE], record[CRASHES], record[HOLDS])
    acks[place] = acks[place] or {}
    table.insert(acks[place], entry_id)
    if op ~= 'c' and not record[REVOKE] then
      local entry = call('XRANGE', prefix .. 's:' .. place, entry_id, entry_id)
      payloads[index] = entry[1] and entry[1][2][4] or '' -- '': it fails as damaged, not silently
    end
  end
end

-- Second pass: the entries go.  A full server allows these writes, and then the ones below.
call('DEL', prefix .. '~')
for _, at in ipairs(told) do heard(ARGV[at], ARGV[at + 1]) end
for lane, entries in pairs(acks) do
  call('XACK', prefix .. 's:' .. lane, 'w', unpack(entries))
  call('XDEL', prefix .. 's:' .. lane, unpack(entries))
end

-- Third pass: what becomes of each job.
local function apply(job_id, op, number, argument, value, record, payload)
  local key = prefix .. 'j:' .. job_id
  release(job_id, record[HOLDS])
  if record[REVOKE] then
    revoked(job_id, record, tonumber(record[REVOKE]))
  elseif op == 'c' then
    if record[RETRIES] then call('DEL', prefix .. 'v:' .. job_id) end -- the error of an earlier try
    local enqueued_ms = enqueued(record[ENQUEUED], record[TOKEN])
    finish(job_id, 'c', value, number, record[WAITERS], enqueued_ms, record[BEGUN])
  elseif op == 'r' then
    call('HINCRBY', key, 'e', 1)
    call('HDEL', key, 'g', 'k') -- its task is known and it can run without harm: no suspect
    if record[CRASHES] then
      record[CRASHES] = nil
      -- In another lane an entry of this millisecond could have the id of the last one, and the
      -- fence would let a late word about that one pass.
      number = math.max(number, now_ms + 1)
    end
    call('SET', prefix .. 'v:' .. job_id, value, 'PX', math.max(number - now_ms, 0) + dead_ms)
    again(job_id, record, number, payload, 'r')
  elseif op == 'n' then
    again(job_id, record, number, payload)
  elseif op == 'f' then
    bury(job_id, value, payload, record)
  elseif op == 'p' then
    record[HOLDS] = argument .. (record[HOLDS] and ' ' .. record[HOLDS] or '')
    call('HSET', key, 'h', record[HOLDS])
    call('HINCRBY', key, 'a', -1) -- made up for by `again`
    -- Later, for in another stream an entry of this millisecond could have the id of this one.
    again(job_id, record, now_ms + 1, payload)
  elseif op == 's' then
    -- include suspend
    suspend(job_id, record, number, value, payload)
  elseif op == 'l' then
    crash(job_id, record, payload, function() return value end)
  else
    -- include offer
    offer(job_id, record, number, value, payload)
  end
end

for index = 1, count do
  local record = records[index]
  if record then
    local at = FIRST + (index - 1) * STRIDE
    local op, argument, value = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    apply(ARGV[at], op, numbers[index], argument, value, record, payloads[index])
  end
end

trim()
follow()
ring_all()
write_events()
return table.concat(verdicts)
