-- What is wrong with memos, and with the lists of jobs that wait for events.
local function state_of(job_id)
  local record = prefix .. 'j:' .. job_id
  return call('TYPE', record).ok == 'hash' and call('HGET', record, 's') or nil
end

-- A memo lives as long as its job, and that of a dead letter as long as the letter.
local function check_memo(name)
  local state = state_of(string.sub(name, 4))
  if state == 'f' then
    check_expiry(name, true)
  elseif state and state ~= 'c' and state ~= 'x' then
    check_expiry(name, false)
  elseif state or call('PTTL', prefix .. name) == -1 then
    found('memo-left', name, state or 'gone', drop(prefix .. name))
  end
end

local function check_waits(name)
  for _, member in ipairs(call('ZRANGE', prefix .. name, 0, 99)) do
    local job_id, wait = string.match(member, '^(%S+) (.*)$')
    local state = job_id and state_of(job_id)
    local lives = state and state ~= 'c' and state ~= 'f' and state ~= 'x'
    local entry = lives and call('HGET', prefix .. 'dm:' .. job_id, wait)
    if not entry or string.byte(entry) ~= 101 then -- e
      found('wait-left', member, string.sub(name, 4), function()
        call('ZREM', prefix .. name, member)
        return 'removed'
      end)
    end
  end
end
