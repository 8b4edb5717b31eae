-- Let parked jobs through their gates: in turn among the gates of a lane, and among the fair keys
-- behind each; in order within a line.
--
-- Tokens and slots are taken where the job starts, in the same call, so nothing is ever reserved
-- that somebody who dies could keep.

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
local function sleep(gate, wait, slot, buckets, slots, costs, was_served)
  call('ZREM', prefix .. 'hr:' .. lane_of(gate), gate)
  if slot then
    wait_for_slot(slot, gate, was_served)
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
  for word, bucket in pairs(buckets) do spend(bucket, costs[word] or 1, 'j') end
  for word in pairs(slots) do
    slots[word] = slots[word] - call('SADD', prefix .. 'sl:' .. word, job_id)
  end
end

-- Start one job, or end it where it has expired; return what stops it, as `obstacle` does, and its costs.
local function let_go(job_id, buckets, slots, start)
  local body = prefix .. 'y:' .. job_id
  local fields = { 's', 'x', 't', 'e', 'a', 'd', 'w', 'n', 'h', 'i' }
  local record = call('HMGET', prefix .. 'j:' .. job_id, unpack(fields))
  if record[1] ~= 'p' then return 0, nil end -- nothing that is ours
  if record[2] and tonumber(record[2]) <= now_ms then
    call('ZREM', prefix .. 'd', job_id)
    call('DEL', body, prefix .. 'v:' .. job_id) -- also the error of an earlier try
    finish(job_id, 'x', 'expired', keep_ms, record[7], record[8])
    return 0, nil
  end
  local costs = costs_of(record[9] or '')
  local wait, slot = obstacle(buckets, slots, costs)
  if wait > 0 or slot then return wait, slot, costs end
  if record[2] then call('ZREM', prefix .. 'd', job_id) end
  admit(job_id, buckets, slots, costs)
  if record[7] and string.find(record[7], '?', 1, true) then unlock(job_id, record[7]) end
  start(job_id, record, call('GETDEL', body) or '')
  return 0, nil
end

-- Let jobs of one gate through, until `most` have gone; `start` is told each that runs, with its
-- record and payload.  Return true where the gate is done with for now.
local function pass(gate, lane, most, start)
  local buckets, slots = read_gate(gate)
  local lines, rounds = lines_in_turn(gate, most)
  local gone, wait, slot, costs = {}, 0, nil, nil
  for round = 1, rounds do
    for _, line in ipairs(lines) do
      local job_id = line.jobs[round]
      if job_id and #gone < most and scan > 0 and not (wait > 0 or slot) then
        scan = scan - 3 -- it costs about as much as three of a stream
        wait, slot, costs = let_go(job_id, buckets, slots, start)
        if wait == 0 and not slot then
          gone[#gone + 1] = job_id
          line.gone, line.turn = round, #gone
        end
      end
    end
  end
  leave_lines(gate, lane, lines, gone)
  for _, bucket in pairs(buckets) do write_bucket(bucket) end
  if wait > 0 or slot then
    sleep(gate, wait, slot, buckets, slots, costs, #gone > 0)
    return true
  end
  if call('EXISTS', prefix .. 'hl:' .. gate) == 1 then return false end
  shut_gate(gate)
  yield(gate)
  return true
end

-- Take up to `most` jobs from the ready gates of a lane; return as `take_stream` does.
local function take_gates(lane, index, most)
  local ready_gates, held = prefix .. 'hr:' .. lane, lane .. 'h'
  local left = room - most
  -- What is found was left by somebody else's repairs.  Reading a stream that is not there makes it.
  local entries = call('EXISTS', prefix .. 's:' .. held) == 1 and read(held, most) or {}
  if entries.err then return false, entries end
  for _, entry in ipairs(entries) do take_entry(held, index, entry) end
  local before = size
  local function start(job_id, record, payload)
    local entry_id = add_entry_after(record[10], prefix .. 's:' .. held, job_id, payload)
    local begun_ms = now_ms - (record[8] or now_ms)
    local key = prefix .. 'j:' .. job_id
    call('HSET', key, 's', 'r', 'i', entry_id, 'o', worker, 'b', begun_ms)
    -- Its index tells that it was held by what its task is limited by, not only by its schedule.
    local is_held = string.find(' ' .. (record[9] or ''), ' [bcf]:')
    local place = is_held and index + lanes or index
    hand_out(entry_id, job_id, record[3], place, record[4], record[5], record[6], payload)
  end
  local is_done = false
  while room > left and scan > 0 and not is_done do
    -- Behind the turn of the stream, which is gone where the last gate has been shut.
    local gate, other = unpack(call('ZRANGEBYSCORE', ready_gates, '(-2', '+inf', 'LIMIT', 0, 2))
    is_done = not gate
    local part = math.min(room - left, other and 10 or room)
    if gate and not pass(gate, lane, part, start) then
      call('ZREM', ready_gates, gate)
      queue_up(ready_gates, gate)
    end
  end
  if size > before then read(held, size) end
  return is_done
end
