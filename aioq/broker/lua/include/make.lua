-- Create a job, unless its id is known; return '1' where this call made it, '0' where it was there.
--
-- A lane is `queue:priority`, or that, a space, and the holds of a job that has limits.
local made = {} -- jobs that are ready now, by queue
local lane_text, lane, queue, holds, served

local function read_lane(text)
  lane_text = text
  lane, holds = string.match(text, '^(%S+) (.+)$')
  lane = lane or text
  queue = queue_of(lane)
  made[queue] = made[queue] or 0
end

local function make(job_id, lane_and_holds, task, due, expires, nonce, payload)
  if lane_text ~= lane_and_holds then read_lane(lane_and_holds) end
  local record = prefix .. 'j:' .. job_id
  local maker = call('HMGET', record, 's', 'u')
  if maker[1] then
    return (nonce == '' or maker[2] == nonce) and '1' or '0'
  end
  local fields, size = { 's', 'q', 't', task }, 4
  local function note(field, value)
    fields[size + 1], fields[size + 2], size = field, value, size + 2
  end
  if lane ~= COMMON_LANE then note('q', lane) end
  if nonce ~= '' then note('u', nonce) end
  if expires then note('x', expires) end
  if holds then note('h', holds) end
  if due and due > now_ms then
    fields[2] = 'd'
    note('d', due)
    note('n', now_ms)
    -- It ends as soon as it expires, even where that is before it is due.
    delay(job_id, expires and math.min(due, expires) or due, payload, queue)
  elseif holds then
    fields[2] = 'p'
    note('n', now_ms)
    call('HSET', record, unpack(fields))
    park(job_id, lane, holds, payload)
    return '1'
  else
    note('i', call('XADD', prefix .. 's:' .. lane, '*', 'j', job_id, 'p', payload))
    made[queue] = made[queue] + 1
    if served ~= lane then
      call('SADD', prefix .. 'l', lane)
      served = lane
    end
  end
  call('HSET', record, unpack(fields))
  return '1'
end

local function ring_made()
  for name, jobs in pairs(made) do
    if jobs > 0 then ring_later(name, jobs) end
  end
  ring_all()
end
