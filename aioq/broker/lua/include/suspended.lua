-- What is wrong with a suspended job.

-- Whether an event or a child will wake it.
local function is_told_by(job_id, name, entry)
  local kind, rest = string.sub(entry, 1, 1), string.sub(entry, 2)
  if kind == 'e' then
    local event = string.match(rest, '^%d* (.*)$')
    return call('ZSCORE', prefix .. 'dw:' .. event, job_id .. ' ' .. name)
  end
  local child = kind == 'P' and string.match(rest, ' (%S+)$')
  local words = child and call('HGET', prefix .. 'j:' .. child, 'w')
  local own = '^' .. job_id .. ':' .. string.sub(name, 7) -- behind 'child '
  return words and string.find(' ' .. words .. ' ', ' ' .. own .. ' ', 1, true)
end

local function is_awaited(job_id)
  local memo = call('HGETALL', prefix .. 'dm:' .. job_id)
  for n = 1, #memo, 2 do
    local is_entry = string.byte(memo[n]) ~= 32 -- a space
    if is_entry and is_told_by(job_id, memo[n], memo[n + 1]) then return true end
  end
  return false
end

-- A run in vain does no harm: the job looks again at what it waits for.
local function rouse(job_id)
  -- include awaken
  return function()
    awaken(job_id)
    return 'queued'
  end
end

function CHECKS.s(job_id, record, place, due)
  if not has_payload(job_id, record, 'suspended-lost') then return end
  local due_ms = call('HGET', prefix .. 'j:' .. job_id, 'd')
  if due_ms and not due then
    found('suspended-unlisted', job_id, '', function()
      call('ZADD', prefix .. 'd', due_ms, job_id)
      ring(queue_of(place), 1)
      return 'listed'
    end)
  elseif not due_ms and not is_awaited(job_id) then
    found('suspended-deaf', job_id, '', rouse(job_id))
  end
  return true
end
