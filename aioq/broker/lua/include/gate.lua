-- Let parked jobs through their gates: in turn among the gates of a lane, and among the fair keys
-- behind each; in order within a line.
--
-- Tokens and slots are taken where the job starts, in the same call, so nothing is ever reserved
-- that somebody who dies could keep.

-- The limits of a gate, each read once.
local function read_gate(gate)
  local buckets, slots = {}, {}
  for word in limits_of(gate) do
    if string.byte(word) == 98 then
      buckets[word] = read_bucket(string.sub(word, 3))
    else
      local _, _, kind, name = string.find(word, '^(%a):([^:]*)')
      local capacity = kind == 'o' and 1 or tonumber(limit_of(kind, name))
      if capacity then slots[word] = capacity - call('SCARD', prefix .. 'sl:' .. word) end
    end
  end
  return buckets, slots
end

local function costs_of(holds)
  local costs = {}
  for word in string.gmatch(holds, 'b:%S+') do
    costs[string.match(word, '^[^=]*')] = tonumber(string.match(word, '=(%d+)$') or 1)
  end
  return costs
end

-- What stops a job with these costs, and so its gate: microseconds to wait, or a slot.
local function obstacle(buckets, slots, costs)
  local longest = 0
  for word, bucket in pairs(buckets) do
    longest = math.max(longest, job_wait_us(bucket, costs[word] or 1))
  end
  if longest > 0 then return longest, nil end
  for word, free in pairs(slots) do
    if free <= 0 then return 0, word end
  end
  return 0, nil
end

-- Put a gate where it is woken from; what it cannot use meanwhile is for the next in line.
local function sleep(gate, wait, slot, buckets, slots, costs)
  call('ZREM', prefix .. 'hr:' .. lane_of(gate), gate)
  if slot then
    queue_up(prefix .. 'sw:' .. slot, gate)
    call('SADD', prefix .. 'lg:' .. limit_name(slot), gate)
  else
    local due_ms = math.ceil((now_us + wait) / 1000)
    call('ZADD', prefix .. 'd', string.format('%.0f', due_ms), gate)
    for word, bucket in pairs(buckets) do
      call('SADD', prefix .. 'lg:' .. limit_name(word), gate)
      claim_for_job(bucket, costs[word] or 1, wait)
    end
  end
  for word, free in pairs(slots) do
    if free > 0 then wake(word, 1) end
  end
end

-- Take what the job needs; nothing was in its way.
local function admit(job_id, buckets, slots, costs)
  for word, bucket in pairs(buckets) do take_for_job(bucket, costs[word] or 1) end
  for word in pairs(slots) do
    slots[word] = slots[word] - call('SADD', prefix .. 'sl:' .. word, job_id)
  end
end

-- Take the first job out of a line; its key has the next turn after all others.
local function advance(lane, turns, line, fair, job_id)
  call('ZREM', line, job_id)
  call('ZREM', prefix .. 'hp:' .. lane, job_id)
  call('ZREM', turns, fair)
  if call('EXISTS', line) == 1 then queue_up(turns, fair) end
end

-- Let up to `most` jobs of one gate through; `start` is told each, with its record and payload.
-- Return true where the gate is done with for now.
local function pass(gate, lane, most, start)
  local turns = prefix .. 'hl:' .. gate
  local buckets, slots = read_gate(gate)
  while most > 0 and scan > 0 do
    scan = scan - 1
    local fair = call('ZRANGE', turns, 0, 0)[1]
    if not fair then
      shut_gate(gate)
      return true
    end
    local line = prefix .. 'hq:' .. gate .. ' ' .. fair
    local job_id = call('ZRANGE', line, 0, 0)[1] or ''
    local key, body = prefix .. 'j:' .. job_id, prefix .. 'y:' .. job_id
    local record = call('HMGET', key, 's', 'x', 't', 'e', 'a', 'd', 'w', 'n', 'h')
    if record[1] ~= 'p' then -- nothing that is ours
      advance(lane, turns, line, fair, job_id)
    elseif record[2] and tonumber(record[2]) <= now_ms then
      advance(lane, turns, line, fair, job_id)
      call('DEL', body, prefix .. 'v:' .. job_id) -- also the error of an earlier try
      finish(job_id, 'x', 'expired', keep_ms, record[7], record[8])
    else
      local costs = costs_of(record[9] or '')
      local wait, slot = obstacle(buckets, slots, costs)
      if wait > 0 or slot then
        sleep(gate, wait, slot, buckets, slots, costs)
        return true
      end
      admit(job_id, buckets, slots, costs)
      advance(lane, turns, line, fair, job_id)
      start(job_id, record, call('GETDEL', body) or '')
      most = most - 1
    end
  end
  return false
end
