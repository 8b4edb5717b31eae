-- Put the delayed jobs that are due into their lanes, and end those that have expired; open the
-- gates whose next token has come.
local function promote(job_id, expired)
  local record = call('HMGET', prefix .. 'j:' .. job_id, 's', 'q', 'x', 'w', 'n', 'k', 'h')
  local is_parked = record[1] == 'p'
  if record[1] ~= 'd' and record[1] ~= 's' and not is_parked then return end
  local body, lane = prefix .. 'y:' .. job_id, wait_of(record[2], record[6])
  if record[3] and tonumber(record[3]) <= now_ms then
    if is_parked then
      gates = gates or make_gates()
      gates.lapse(job_id, lane, record[7] or '')
    end
    call('DEL', body, prefix .. 'v:' .. job_id) -- also the error of an earlier try
    finish(job_id, 'x', 'expired', keep_ms, record[4], record[5])
    expired[queue_of(lane)] = true
    return
  end
  if is_parked then return end
  -- A payload that is gone (an evicted key) is no reason to stop: the job fails when it runs.
  local payload = call('GET', body) or ''
  if record[7] then
    call('HSET', prefix .. 'j:' .. job_id, 's', 'p')
    park(job_id, lane, record[7], payload)
  else
    ready(job_id, lane, payload)
    call('DEL', body)
    ring_later(queue_of(lane), 1)
  end
end

local function promote_due(due)
  call('ZREM', prefix .. 'd', unpack(due))
  local expired = {}
  for _, member in ipairs(due) do
    if is_gate(member) then
      open_gate(member)
    else
      promote(member, expired)
    end
  end
  for queue in pairs(expired) do silence(queue) end
end
