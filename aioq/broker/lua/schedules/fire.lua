-- Fire occurrences: each is still the next one of its schedule, or nothing happens.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   count      int      number of fires
--        fires      11 each  name, version, occurrence, next_ms, op, job_id, lane, task, due, expires,
--                            payload
-- REPLY  verdicts   text     per fire: K done; O its turn is over, and no job was made, because the
--                            one before it, or another with its unique key, has not ended, and
--                            after an n a space and that one's id; L somebody else was here before,
--                            or the schedule has changed, is paused or gone
--
-- op     f make the job of the occurrence; s the same, unless the one before it has not ended;
--        m it was missed, and so was all before `next_ms`: make none; n make a job by hand, whatever
--        is due
-- version  the SHA-1 of the definition from which the fire was made
--
-- This is the only place where an occurrence becomes a job.  Whoever comes first moves the schedule
-- on in the same call, so all who come later find another occurrence there, and so does a call that
-- is sent again.  The occurrence is in the job's id as well (G8).

local call = redis.call
local prefix = KEYS[1]
local count = tonumber(ARGV[1])
local FIRST, STRIDE = 2, 11
local KEPT = 100 -- lines of history

-- include now
-- include lane
-- include record
-- include moment
-- include ring
-- include event
-- include delay
-- include park
-- include make

for index = 0, count - 1 do
  local at = FIRST + index * STRIDE
  if not (whole(ARGV[at + 2]) and whole(ARGV[at + 3]) and string.find(ARGV[at + 4], '^[fsmn]$')) then
    return redis.error_reply('ERR fire of schedule ' .. ARGV[at])
  end
end

local function is_current(name, version)
  local definition = call('HGET', prefix .. 'cr', name)
  return definition and redis.sha1hex(definition) == version
end

local function is_next(name, occurrence)
  return tonumber(call('ZSCORE', prefix .. 'cz', name) or -1) == tonumber(occurrence)
end

-- Whether the last job of a schedule has still to end.
local function goes_on(name)
  local last = call('HGET', prefix .. 'cl', name)
  local state = last and call('HGET', prefix .. 'j:' .. last, 's')
  return state and not has_ended(state)
end

local function note(name, what, occurrence, rest)
  local history = prefix .. 'ch:' .. name
  call('LPUSH', history, table.concat({ what, occurrence, string.format('%.0f', now_ms), rest }, ' '))
  call('LTRIM', history, 0, KEPT - 1)
end

local function fire(at)
  local name, version, occurrence, next_ms = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local op, job_id = ARGV[at + 4], ARGV[at + 5]
  local by_hand = op == 'n'
  if not is_current(name, version) or not by_hand and not is_next(name, occurrence) then return 'L' end
  if by_hand and call('EXISTS', prefix .. 'j:' .. job_id) == 1 then return 'K' end
  -- First of all writes: a full server refuses it, and so the whole call.
  if not by_hand then call('ZADD', prefix .. 'cz', next_ms, name) end
  if op == 'm' then
    note(name, 'm', occurrence, next_ms)
    return 'K'
  end
  local others = op ~= 'f' and goes_on(name)
  if op == 's' and others then
    note(name, 'o', occurrence, call('HGET', prefix .. 'cl', name))
    return 'O'
  end
  local due, expires = moment(ARGV[at + 8]), moment(ARGV[at + 9])
  local _, other = make(job_id, ARGV[at + 6], ARGV[at + 7], due, expires, '', ARGV[at + 10])
  if other then
    note(name, 'o', by_hand and string.format('%.0f', now_ms) or occurrence, other)
    return by_hand and 'O ' .. other or 'O'
  end
  note(name, by_hand and 'n' or 'f', by_hand and string.format('%.0f', now_ms) or occurrence, job_id)
  if not (by_hand and others) then call('HSET', prefix .. 'cl', name, job_id) end
  return 'K'
end

local verdicts = {}
for index = 0, count - 1 do
  verdicts[index + 1] = fire(FIRST + index * STRIDE)
end
ring_made()
write_events()
return table.concat(verdicts)
