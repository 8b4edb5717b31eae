-- Create a job, unless its id is known; return '1' where this call made it, '0' where it was there.
-- Where another job has its unique key, also that one's id; then 'r' says that the call is refused.
--
-- A lane is `queue:priority`, or that, a space, and the holds of a job that has limits; before them
-- a word for its unique key.
local made = {} -- jobs that are ready now, by queue
local lane_text, lane, queue, holds, lock, served

-- include unique

local function read_lane(text)
  lane_text = text
  lane, holds = string.match(text, '^(%S+) (.+)$')
  lane, lock = lane or text, nil
  if holds and string.find(holds, '^u:') then
    lock, holds = string.match(holds, '^(%S+) ?(.*)$')
    if holds == '' then holds = nil end
  end
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
  local since_ms -- of a job that is there, and is written anew
  if lock then
    unique = unique or make_unique()
    local refusal, other, enqueued_ms, has_run = unique.claim(lock, job_id, nonce)
    if refusal then return refusal, other end
    served = nil -- a lane may have been emptied
    job_id, record, since_ms = other, prefix .. 'j:' .. other, enqueued_ms
    -- In another lane an entry of this millisecond could have the id of an earlier one, and the
    -- fence would let a late word about that one pass.
    if has_run then due = math.max(due or 0, now_ms + 1) end
  end
  local made_ms = since_ms or now_ms
  if not since_ms then note_event('q', job_id) end
  local fields, size = { 's', 'q', 't', task }, 4
  local function note(field, value)
    fields[size + 1], fields[size + 2], size = field, value, size + 2
  end
  if lane ~= COMMON_LANE then note('q', lane) end
  if lock and not since_ms then note('w', unique.key_word(lock)) end
  if nonce ~= '' and not since_ms then note('u', nonce) end
  if expires then note('x', expires) end
  if holds then note('h', holds) end
  if due and due > now_ms then
    fields[2] = 'd'
    note('d', due)
    note('n', made_ms)
    -- It ends as soon as it expires, even where that is before it is due.
    delay(job_id, expires and math.min(due, expires) or due, payload, queue)
  elseif holds then
    fields[2] = 'p'
    note('n', made_ms)
    call('HSET', record, unpack(fields))
    park(job_id, lane, holds, payload)
    return since_ms and '0' or '1', since_ms and job_id
  else
    note('i', call('XADD', prefix .. 's:' .. lane, '*', 'j', job_id, 'p', payload))
    if since_ms then note('n', since_ms) end
    made[queue] = made[queue] + 1
    if served ~= lane then
      call('SADD', prefix .. 'l', lane)
      served = lane
    end
  end
  call('HSET', record, unpack(fields))
  return since_ms and '0' or '1', since_ms and job_id
end

local function ring_made()
  for name, jobs in pairs(made) do
    if jobs > 0 then ring_later(name, jobs) end
  end
  if moves then moves.follow() end
  ring_all()
end
