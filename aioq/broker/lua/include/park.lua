-- Jobs with holds (rate limits, concurrency limits, a fair key) wait in lines behind gates.
--
-- A gate is a lane and the limits that its jobs have in common, so that what stops the first of
-- them stops all; behind it there is one line for each fair key.  A gate with jobs is in exactly
-- one place: ready (hr:<lane>), asleep until its next token (d), or waiting for a slot (sw:<slot>).

-- The gate at which a job waits, and its fair key.
local function gate_of(lane, holds)
  local words, fair = {}, ''
  for word in string.gmatch(holds, '%S+') do
    if string.byte(word) == 102 then
      fair = string.sub(word, 3)
    else
      words[#words + 1] = string.match(word, '^[^=]*')
    end
  end
  return lane .. ' ' .. table.concat(words, ' '), fair
end

local function line_of(gate, fair)
  return prefix .. 'hq:' .. gate .. ' ' .. fair
end

local function is_gate(member)
  return string.find(member, '^%S+:[%dz] ') ~= nil -- no job id has a space
end

local function lane_of(gate)
  return string.match(gate, '^%S+')
end

-- 'c:name' of the word 'c:name:key'.
local function limit_name(word)
  return string.match(word, '^%a:[^:]*')
end

local function limits_of(gate)
  return string.gmatch(string.sub(gate, #lane_of(gate) + 2), '%S+')
end

-- Put something at the end of an order, unless it has its place.
local function queue_up(key, member)
  local last = call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  call('ZADD', key, 'NX', (tonumber(last[2]) or 0) + 1, member)
end

-- Let the next fetch look at a gate.
local function open_gate(gate)
  local lane = lane_of(gate)
  for word in limits_of(gate) do call('SREM', prefix .. 'lg:' .. limit_name(word), gate) end
  queue_up(prefix .. 'hr:' .. lane, gate)
  call('SADD', prefix .. 'l', lane)
  ring_later(queue_of(lane), 1)
end

-- Put a job at the end of its line; its record must say already that it is parked.  One that expires
-- is in the delayed set meanwhile, to end in time.
local function park(job_id, lane, holds, payload)
  local gate, fair = gate_of(lane, holds)
  local turns = prefix .. 'hl:' .. gate
  local is_first = call('EXISTS', turns) == 0
  call('SET', prefix .. 'y:' .. job_id, payload)
  queue_up(line_of(gate, fair), job_id)
  queue_up(turns, fair)
  call('ZADD', prefix .. 'hp:' .. lane, now_ms, job_id)
  local expires = call('HGET', prefix .. 'j:' .. job_id, 'x')
  if expires then
    call('ZADD', prefix .. 'd', expires, job_id)
    ring_later(queue_of(lane), 1) -- whoever comes sets its timer
  end
  if is_first then open_gate(gate) end
end

-- Forget a gate at which nobody waits any more; return it where a fetch was to look at it.
local function shut_gate(gate)
  local lane = lane_of(gate)
  local ready_gates = prefix .. 'hr:' .. lane
  local was_ready = call('ZREM', ready_gates, gate) == 1
  local left = was_ready and call('ZRANGE', ready_gates, 0, 1) or { gate }
  if #left == 0 or #left == 1 and left[1] == '' then -- '': whose turn it is
    call('DEL', ready_gates)
    if call('EXISTS', prefix .. 's:' .. lane) == 0 then call('SREM', prefix .. 'l', lane) end
  end
  call('ZREM', prefix .. 'd', gate)
  for word in limits_of(gate) do
    call('SREM', prefix .. 'lg:' .. limit_name(word), gate)
    call('ZREM', prefix .. 'sw:' .. word, gate)
  end
  return was_ready and gate or nil
end

-- Take a job out of its line; return its gate where a fetch was to look at it, and need not now.
local function unpark(job_id, lane, holds)
  local gate, fair = gate_of(lane, holds)
  local turns, line = prefix .. 'hl:' .. gate, line_of(gate, fair)
  call('ZREM', line, job_id)
  call('ZREM', prefix .. 'hp:' .. lane, job_id)
  call('ZREM', prefix .. 'd', job_id) -- where it was to expire
  if call('EXISTS', line) == 1 then return nil end
  call('ZREM', turns, fair)
  if call('EXISTS', turns) == 1 then return nil end
  return shut_gate(gate)
end
