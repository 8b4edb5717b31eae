-- Let a job begin that has all that it waited for.
--
-- A gather ends at once: what it gathered is its result, and stays where it is.  Any other job goes
-- where it would have gone when it was enqueued; few and small results travel in its payload (I),
-- and a worker reads the others before it starts (J).
local GATHERED = '\212\103\0' -- of a type that no task's result has
local FEW, SMALL = 64, 65536

local function read_waiting(job_id)
  local fields = { 's', 'q', 'h', 'w', 'n', 'j', 'z', 'v' }
  local values = call('HMGET', prefix .. 'j:' .. job_id, unpack(fields))
  local record = { id = job_id, state = values[1], lane = values[2] or COMMON_LANE }
  record.holds, record.waiters, record.enqueued_ms = values[3], values[4] or nil, values[5]
  record.needs, record.culprit = tonumber(values[6] or 0), values[8]
  record.kind, record.keep_ms, record.due, record.expires =
    string.match(values[7] or '', '^(%a) (%d+) (%S+) (%S+)$')
  return record
end

local function collects(record)
  return record.kind == 'G' or record.kind == 'c' or record.kind == 'e'
end

-- The payload of a job, with what it waited for in it or marked as being elsewhere.
local function fill(record, payload)
  if record.needs == 0 or payload == '' then return payload end
  local inputs = prefix .. 'g:' .. record.id
  if record.needs <= FEW then
    local names, items, bytes = {}, {}, 0
    for n = 1, record.needs do
      names[n] = n - 1
      bytes = bytes + call('HSTRLEN', inputs, n - 1)
    end
    if bytes <= SMALL then
      for n, value in ipairs(call('HMGET', inputs, unpack(names))) do
        items[n] = '\198' .. struct.pack('>I4', #value) .. value
      end
      call('DEL', inputs)
      return 'I' .. struct.pack('>I4', #payload) .. payload
        .. '\221' .. struct.pack('>I4', #items) .. table.concat(items)
    end
  end
  local words = record.waiters and record.waiters .. ' -' or '-'
  call('HSET', prefix .. 'j:' .. record.id, 'w', words)
  return 'J' .. payload
end

local function begin(record)
  local job_id, key, body = record.id, prefix .. 'j:' .. record.id, prefix .. 'y:' .. record.id
  local queue, payload = queue_of(record.lane), call('GET', body) or ''
  if record.kind == 'g' or record.kind == 'G' then
    local keep_ms = math.max(tonumber(record.keep_ms), 120000)
    finish(job_id, 'c', GATHERED, keep_ms, record.waiters, record.enqueued_ms)
    -- In the middle of a workflow it is needed until that ends, see `errands`.
    local left_ms = record.due == '-' and -2 or call('PTTL', prefix .. 'gk:' .. record.due)
    if left_ms ~= -1 then
      call('PEXPIRE', prefix .. 'g:' .. job_id, math.max(left_ms, keep_ms))
    end
    call('DEL', body)
    return
  end
  payload = fill(record, payload)
  local due, expires = moment(record.due), moment(record.expires)
  call('HDEL', key, 'z')
  if expires then call('HSET', key, 'x', expires) end
  if due and due > now_ms then
    call('HSET', key, 's', 'd', 'd', due)
    delay(job_id, expires and math.min(due, expires) or due, payload, queue)
  elseif record.holds then
    call('HSET', key, 's', 'p')
    park(job_id, record.lane, record.holds, payload)
  else
    ready(job_id, record.lane, payload)
    call('DEL', body)
    ring_later(queue, 1)
  end
end
