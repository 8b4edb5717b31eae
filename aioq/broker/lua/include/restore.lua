-- What is wrong with a job that has not ended, and how it is queued again.
local function count(payload)
  bytes = bytes + #(payload or '')
  return payload
end

-- When it was enqueued, should its record not say it.
local function date(record)
  record[ENQUEUED] = record[ENQUEUED] or string.match(record[TOKEN] or '', '^(%d+)-') or now_ms
end

-- End a job of which nothing is left that could run.
local function give_up(job_id, record)
  date(record)
  call('ZREM', prefix .. 'd', job_id)
  release(job_id, record[HOLDS])
  if record[STATE] == 'p' then
    unpark(job_id, wait_of(record[LANE], record[CRASHES]), record[HOLDS] or '')
  end
  if record[REVOKE] then
    call('DEL', prefix .. 'y:' .. job_id)
    revoked(job_id, record, tonumber(record[REVOKE]))
    return 'revoked'
  end
  bury(job_id, lost, '', record)
  return 'buried'
end

local function restored(job_id, record, place, payload)
  local body = prefix .. 'y:' .. job_id
  if payload then remove_entry(place, record[TOKEN]) end
  payload = payload or call('GET', body)
  if not payload or payload == '' or record[REVOKE] then return give_up(job_id, record) end
  date(record)
  call('DEL', body)
  if record[STATE] == 'r' then
    release(job_id, record[HOLDS])
    again(job_id, record, now_ms, payload)
  elseif record[HOLDS] then
    call('HSET', prefix .. 'j:' .. job_id, 'n', record[ENQUEUED], 's', 'p')
    park(job_id, wait_of(record[LANE], record[CRASHES]), record[HOLDS], payload)
    return 'parked'
  else
    call('HSET', prefix .. 'j:' .. job_id, 'n', record[ENQUEUED])
    ready(job_id, place, payload)
    ring(queue_of(place), 1)
  end
  return 'queued'
end

local function restore(job_id, record, place, payload)
  local did = restored(job_id, record, place, payload)
  remove_if_empty(place) -- not before: an entry of a new stream could have the id of the old one
  return did
end

-- Each returns true where the job is as it should be.
local CHECKS = {}

function CHECKS.q(job_id, record, place)
  local token = record[TOKEN] or ''
  local payload = count(payload_of(place, token, job_id))
  local holder = payload and holder_of(place, token)
  if payload and not holder and not was_handed_out(place, token) then return true end
  local code = not payload and 'queued-lost' or holder and 'queued-held' or 'queued-passed'
  found(code, job_id, holder or place, function() return restore(job_id, record, place, payload) end)
end

function CHECKS.r(job_id, record, place)
  local token = record[TOKEN] or ''
  local owner = call('HGET', prefix .. 'j:' .. job_id, 'o') or ''
  local payload = count(payload_of(place, token, job_id))
  -- A holder without a lease is found as a consumer of the lane, and reaped.
  if payload and holder_of(place, token) == owner then return true end
  local is_leased = call('ZSCORE', prefix .. 'lw', owner)
  found(payload and 'running-unheld' or 'running-lost', job_id, owner, function()
    if is_leased and not payload then return '' end -- its worker has the payload, and may end it
    if is_leased and was_handed_out(place, token) then
      call('XCLAIM', prefix .. 's:' .. place, 'w', owner, 0, token, 'FORCE', 'JUSTID')
      return 'claimed'
    end
    return restore(job_id, record, place, payload)
  end)
end

-- Whether the payload is there, for a job that is in no stream.
local function has_payload(job_id, record, code, end_it)
  local body = prefix .. 'y:' .. job_id
  local left_ms = call('PTTL', body)
  if left_ms >= 0 then found('payload-expires', job_id, record[STATE], persist(body)) end
  if left_ms ~= -2 then return true end
  found(code, job_id, '', function() return (end_it or give_up)(job_id, record) end)
  return false
end

function CHECKS.d(job_id, record, place, due)
  if not has_payload(job_id, record, 'delayed-lost') then return end
  if not due then
    found('delayed-unlisted', job_id, '', function()
      local when = call('HMGET', prefix .. 'j:' .. job_id, 'd', 'x')
      local due_ms = tonumber(when[1]) or now_ms
      call('ZADD', prefix .. 'd', math.min(due_ms, tonumber(when[2]) or due_ms), job_id)
      ring(queue_of(place), 1)
      return 'listed'
    end)
  end
  return true
end

function CHECKS.p(job_id, record, place)
  if not has_payload(job_id, record, 'parked-lost') then return end
  local lane, holds = wait_of(record[LANE], record[CRASHES]), record[HOLDS]
  if not holds then
    found('parked-free', job_id, '', function()
      unpark(job_id, lane, '')
      return restore(job_id, record, lane)
    end)
    return
  end
  local gate, fair = gate_of(lane, holds)
  local is_listed = call('ZSCORE', line_of(gate, fair), job_id)
    and call('ZSCORE', prefix .. 'hl:' .. gate, fair)
    and call('ZSCORE', prefix .. 'hp:' .. lane, job_id)
  if not is_listed then
    found('parked-unlisted', job_id, gate, function()
      line_up(job_id, lane, gate, fair)
      return 'listed'
    end)
  end
  return true
end
