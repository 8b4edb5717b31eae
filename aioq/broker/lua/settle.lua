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
--
-- A delivery whose entry is not the record's current one was taken over: its word is refused
-- (S, the fence of G2).  A verdict of D makes a settle that is sent again harmless.

local call = redis.call
local prefix = KEYS[1]
local count, dead_ms, dead_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local FIRST, STRIDE = 4, 5

-- include now
-- include lane
-- include moment
-- include ring
-- include ready
-- include delay
-- include finish
-- include enqueued
-- include bury

-- First pass: read and judge; nothing is written.
local verdicts, records, payloads, acks, numbers = {}, {}, {}, {}, {}
for index = 1, count do
  local at = FIRST + (index - 1) * STRIDE
  local job_id, entry_id, op, argument = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if op == 'r' or op == 'n' then
    numbers[index] = moment(argument)
  elseif op == 'c' or op == 'u' then
    numbers[index] = whole(argument)
  elseif op == 'f' then
    numbers[index] = 0
  end
  if not numbers[index] then
    return redis.error_reply('ERR outcome ' .. op .. ' ' .. argument .. ' of job ' .. job_id)
  end
  local record = call('HMGET', prefix .. 'j:' .. job_id, 's', 'i', 'q', 'n', 'w', 'e', 'b')
  local state = record[1]
  if not state then
    verdicts[index] = 'G'
  elseif state == 'c' or state == 'f' or state == 'x' then
    verdicts[index] = 'D'
  elseif record[2] ~= entry_id then
    verdicts[index] = 'S'
  elseif state ~= 'r' and state ~= 'q' then
    verdicts[index] = 'D'
  else
    verdicts[index] = 'K'
    records[index] = record
    local lane = record[3] or COMMON_LANE
    acks[lane] = acks[lane] or {}
    table.insert(acks[lane], entry_id)
    if op ~= 'c' then
      local entry = call('XRANGE', prefix .. 's:' .. lane, entry_id, entry_id)
      payloads[index] = entry[1] and entry[1][2][4] or '' -- '': it fails as damaged, not silently
    end
  end
end

-- Second pass: the entries go.  A full server allows these writes, and then the ones below.
call('DEL', prefix .. '~')
for lane, entries in pairs(acks) do
  call('XACK', prefix .. 's:' .. lane, 'w', unpack(entries))
  call('XDEL', prefix .. 's:' .. lane, unpack(entries))
end

local rings = {}

local function again(job_id, record, due_ms, payload)
  local lane = record[3] or COMMON_LANE
  local queue, key = queue_of(lane), prefix .. 'j:' .. job_id
  call('HINCRBY', key, 'a', 1)
  call('HSET', key, 'n', enqueued(record[4], record[2])) -- its first entry id goes
  call('HDEL', key, 'b', 'm', 'o', 'p')
  if due_ms <= now_ms then
    ready(job_id, lane, payload)
    rings[queue] = (rings[queue] or 0) + 1
  else
    call('HSET', key, 's', 'd', 'd', due_ms)
    if delay(job_id, due_ms, payload) then
      rings[queue] = rings[queue] or 1
    end
  end
end

-- Third pass: what becomes of each job.
local buried = false
for index = 1, count do
  local record = records[index]
  if record then
    local at = FIRST + (index - 1) * STRIDE
    local job_id, op, number, value = ARGV[at], ARGV[at + 2], numbers[index], ARGV[at + 4]
    local key = prefix .. 'j:' .. job_id
    if op == 'c' then
      if record[6] then call('DEL', prefix .. 'v:' .. job_id) end -- the error of an earlier try
      local enqueued_ms = enqueued(record[4], record[2])
      finish(job_id, 'c', value, number, record[5], enqueued_ms, record[7])
    else
      if op == 'r' then
        call('HINCRBY', key, 'e', 1)
        call('SET', prefix .. 'v:' .. job_id, value, 'PX', math.max(number - now_ms, 0) + dead_ms)
        again(job_id, record, number, payloads[index])
      elseif op == 'n' then
        again(job_id, record, number, payloads[index])
      elseif op == 'u' then
        local since_ms = tonumber(call('HGET', key, 'g') or now_ms)
        if now_ms - since_ms >= number then
          bury(job_id, value, payloads[index], record)
          buried = true
        else
          call('HSET', key, 'g', since_ms)
          -- Offered again after as long as it has been around, between 1 and 30 s.
          local pause_ms = math.min(math.max(now_ms - since_ms, 1000), 30000)
          again(job_id, record, now_ms + math.min(pause_ms, number), payloads[index])
        end
      else
        bury(job_id, value, payloads[index], record)
        buried = true
      end
    end
  end
end

if buried then trim() end
for queue, jobs in pairs(rings) do ring(queue, jobs) end
return table.concat(verdicts)
