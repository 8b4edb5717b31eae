-- Let a dead letter have its life again, and let those wait again that had failed because of it.
local REOPENED = 100 -- in a call; others follow when they hear of its success
local reopened, attempts = 0, 4 * REOPENED

local KINDS = { 'j:', 'y:', 'g:', 'gm:', 'gk:', 'gd:', 'dm:', 'dr:' }

local function persist(job_id)
  for _, kind in ipairs(KINDS) do call('PERSIST', prefix .. kind .. job_id) end
end

-- The jobs that wait for one: their ids, and as which number.
local function dependents_of(job_id)
  local words = call('HGET', prefix .. 'j:' .. job_id, 'w') or ''
  local found = {}
  for id, index in string.gmatch(words, '>(%S+):(%d+)') do found[#found + 1] = { id, index } end
  for _, word in ipairs(call('LRANGE', prefix .. 'gd:' .. job_id, 0, REOPENED - 1)) do
    local id, index = string.match(word, '^>(.*):(%d+)$')
    if id then found[#found + 1] = { id, index } end
  end
  return found
end

-- Let a job wait again that had failed because of its dependency `index`, unless others have failed.
local function wait_again(job_id, index)
  local key = prefix .. 'j:' .. job_id
  local record = call('HMGET', key, 's', 'v')
  if record[1] ~= 'f' or not record[2] then return false end
  if call('EXISTS', prefix .. 'y:' .. job_id) == 0 then return false end -- it was discarded
  call('HDEL', prefix .. 'gx:' .. job_id, index)
  if call('EXISTS', prefix .. 'gx:' .. job_id) == 1 then return false end
  call('ZREM', prefix .. 'x', job_id)
  call('DEL', prefix .. 'v:' .. job_id)
  call('HDEL', key, 'v', 'i', 'f')
  call('HSET', key, 's', 'w')
  note_event('q', job_id)
  persist(job_id)
  return true
end

local function reopen(job_id)
  persist(job_id)
  local jobs, at = { job_id }, 1
  while jobs[at] and reopened < REOPENED and attempts > 0 do
    for _, each in ipairs(dependents_of(jobs[at])) do
      if reopened == REOPENED or attempts == 0 then return end
      attempts = attempts - 1
      if wait_again(each[1], each[2]) then
        jobs[#jobs + 1], reopened = each[1], reopened + 1
      end
    end
    at = at + 1
  end
end
