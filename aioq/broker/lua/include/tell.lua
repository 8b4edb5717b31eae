-- Tell a job that waits of the end of one of those it waits for.
local DEPENDENCY_FAILED = 'aioq.core.errors.DependencyFailed'
local try = pcall -- of what is no command
local DEAD_MS = 604800000 -- as long as dead letters are kept

-- The error of a job that cannot begin: it names the member that failed, however far away it is.
local function error_of(from, state, value)
  local task = call('HGET', prefix .. 'j:' .. from, 't') or '?'
  local text = 'was revoked'
  if state == 'x' then
    if value ~= 'revoked' then text = value end -- expired, replaced
  else
    local ok, wire = try(cmsgpack.unpack, value)
    if ok and type(wire) == 'table' and wire[1] == DEPENDENCY_FAILED then return value end
    text = 'failed'
    if ok and type(wire) == 'table' then
      text = 'failed: ' .. wire[1] .. ': ' .. string.sub(wire[2] or '', 1, 2000)
    end
  end
  return cmsgpack.pack({ DEPENDENCY_FAILED, 'job ' .. from .. ' of ' .. task .. ' ' .. text })
end

-- What is kept of a dead letter goes with it.
local function let_expire(job_id, ms)
  for _, kind in ipairs({ 'y:', 'g:', 'gx:' }) do call('PEXPIRE', prefix .. kind .. job_id, ms) end
end

local function fail(record, index, from, state, value)
  local job_id = record.id
  call('HSET', prefix .. 'gx:' .. job_id, index, from)
  local first = call('HGET', prefix .. 'j:' .. from, 'v') -- it may have failed for another one
  call('HSET', prefix .. 'j:' .. job_id, 'v', first or from)
  local error = error_of(from, state, value)
  finish(job_id, 'f', error, DEAD_MS, record.waiters, record.enqueued_ms)
  call('ZADD', prefix .. 'x', now_ms, job_id)
  let_expire(job_id, DEAD_MS)
end

-- Let a dead letter wait again, once nobody is left for whom it failed.
local function revive(job_id)
  local key = prefix .. 'j:' .. job_id
  note_event('q', job_id)
  call('ZREM', prefix .. 'x', job_id)
  call('DEL', prefix .. 'v:' .. job_id, prefix .. 'gx:' .. job_id)
  call('HDEL', key, 'v', 'i', 'f')
  call('HSET', key, 's', 'w')
  for _, kind in ipairs({ 'j:', 'y:', 'g:', 'gm:', 'gk:', 'gd:' }) do call('PERSIST', prefix .. kind .. job_id) end
end

-- A member has ended after its job had failed for it, or for another one; return whether it revives.
local function tell_late(record, index, from, state, value)
  local job_id = record.id
  local inputs, culprits = prefix .. 'g:' .. job_id, prefix .. 'gx:' .. job_id
  if state ~= 'c' and not collects(record) then
    call('HSET', culprits, index, from)
    return false
  end
  call('HSET', inputs, index, state .. value)
  call('HDEL', culprits, index)
  local can_run = call('EXISTS', prefix .. 'y:' .. job_id) == 1 -- it was not discarded
  if can_run and call('EXISTS', culprits) == 0 then return true end
  if call('PTTL', inputs) == -1 then
    call('PEXPIRE', inputs, math.max(call('PTTL', prefix .. 'j:' .. job_id), 1))
  end
  return false
end

local known = {} -- those that wait on, for they often hear of several ends in one call

local function tell(job_id, index, from, state, value)
  local record = known[job_id] or read_waiting(job_id)
  known[job_id] = record
  if record.state == 'f' and record.culprit then
    if not tell_late(record, index, from, state, value) then return end
    revive(job_id)
    record = read_waiting(job_id)
  end
  known[job_id] = nil
  if record.state ~= 'w' then return end
  if state ~= 'c' and not collects(record) then
    left = left - 2
    return fail(record, index, from, state, value)
  end
  local inputs = prefix .. 'g:' .. job_id
  local added = call('HSET', inputs, index, state .. value)
  record.gathered = record.gathered and record.gathered + added or call('HLEN', inputs)
  if record.gathered < record.needs then
    known[job_id] = record
  else
    left = left - 1
    begin(record)
  end
end

-- Remove a job that was to run only if another failed.
local function spare(job_id)
  if call('HGET', prefix .. 'j:' .. job_id, 's') ~= 'w' then return end
  note_event('x', job_id)
  call('DEL', prefix .. 'j:' .. job_id, prefix .. 'y:' .. job_id)
end
