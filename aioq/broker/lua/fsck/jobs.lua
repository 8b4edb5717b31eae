-- Check jobs: each is in the one place that its record names, and its payload with it.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   repair     0 or 1   1: mend what is found
--        dead_ms    int      how long a dead letter is kept
--        dead_max   int      how many dead letters are kept
--        lost       text     the error of a job whose payload is gone
--        job_ids    1 each   also those of which only a payload, a value or an index is left
-- REPLY  checked    int      how many of them, from the first; the rest is for another call
--        findings   4 each   code, name, detail, what was done: '' nothing
--
-- Record, entry and index are read in one moment, so what goes on meanwhile is no damage.  A job
-- is never thrown away: it is queued again with whatever is left of it, or buried.

local call = redis.call
local prefix = KEYS[1]
local repair, dead_ms, dead_max, lost = ARGV[1] == '1', tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local FIRST_JOB = 5
local ENOUGH = 1048576 -- bytes of entries: a call ends behind the job that passes it
local SLACK_MS = 2000 -- what expires in the same moment goes a little earlier or later

-- include now
-- include lane
-- include record
-- include ring
-- include ready
-- include delay
-- include event
-- include finish
-- include enqueued
-- include park
-- include slots
-- include again
-- include bury
-- include revoked
-- include silence
-- include stream
-- include found
-- include mend
-- include group
-- include entry
-- include places
-- include follow

if repair then call('DEL', prefix .. '~') end -- a write that a full server allows
local bytes = 0

local function unlist(index, job_id)
  return function()
    call('ZREM', prefix .. index, job_id)
    return 'removed'
  end
end

-- include restore
-- include suspended
-- include waits

local function check_unknown(job_id, due, died)
  if due then found('delayed-unknown', job_id, '', unlist('d', job_id)) end
  if died and tonumber(died) > now_ms - dead_ms + SLACK_MS then
    found('letter-unknown', job_id, '', unlist('x', job_id))
  end
  for kind, code in pairs({ ['y:'] = 'payload-unknown', ['v:'] = 'value-unknown' }) do
    local left_ms = call('PTTL', prefix .. kind .. job_id)
    if left_ms == -1 or left_ms > SLACK_MS then
      found(code, job_id, '', drop(prefix .. kind .. job_id))
    end
  end
end

-- What the record does not name must not be there.
local function check_rest(job_id, state, has_body, due, died)
  if has_body then found('payload-stale', job_id, state, drop(prefix .. 'y:' .. job_id)) end
  if due then found('delayed-stale', job_id, state, unlist('d', job_id)) end
  if died then found('letter-stale', job_id, state, unlist('x', job_id)) end
end

local function check_letter(job_id, body, left_ms, due, died)
  local body_ms = call('PTTL', body)
  if body_ms == -1 then found('payload-forever', job_id, '', expire(body, left_ms)) end
  if body_ms ~= -2 and not died then
    found('letter-unlisted', job_id, '', function()
      local at = call('HMGET', prefix .. 'j:' .. job_id, 'n', 'b', 'f')
      call('ZADD', prefix .. 'x', (at[1] or now_ms) + (at[2] or 0) + (at[3] or 0), job_id)
      return 'listed'
    end)
  elseif body_ms == -2 and died and left_ms > SLACK_MS then
    found('letter-lost', job_id, '', function()
      call('SET', body, '', 'PX', left_ms)
      return 'marked'
    end)
  end
  check_rest(job_id, 'f', false, due, nil)
end

local function check(job_id)
  local key, body = prefix .. 'j:' .. job_id, prefix .. 'y:' .. job_id
  local kind = call('TYPE', key).ok
  if kind ~= 'hash' and kind ~= 'none' then
    return found('key-type', 'j:' .. job_id, kind .. ', not hash')
  end
  local record = read_record(job_id)
  local state = record[STATE]
  local due, died = call('ZSCORE', prefix .. 'd', job_id), call('ZSCORE', prefix .. 'x', job_id)
  local left_ms = call('PTTL', key)
  if left_ms == -2 then return check_unknown(job_id, due, died) end
  if call('PTTL', prefix .. 'v:' .. job_id) == -1 then
    found('value-forever', job_id, '', expire(prefix .. 'v:' .. job_id, dead_ms))
  end
  if has_ended(state) then
    local keep_ms = state == 'f' and dead_ms or 120000
    if left_ms == -1 then
      found('ended-forever', job_id, state, expire(key, keep_ms))
      left_ms = keep_ms
    end
    if state == 'f' then return check_letter(job_id, body, left_ms, due, died) end
    return check_rest(job_id, state, call('EXISTS', body) == 1, due, died)
  end
  local look = CHECKS[state]
  if not look then
    found('state-unknown', job_id, state or 'none')
    return
  end
  if left_ms >= 0 then found('live-expires', job_id, state, persist(key)) end
  local place = place_of(record[LANE], record[CRASHES], record[HOLDS])
  if not look(job_id, record, place, due) then return end
  local has_body = (state == 'q' or state == 'r') and call('EXISTS', body) == 1
  local when = state == 'p' and 'x' or state == 's' and 'd'
  local is_due = state == 'd' or when and call('HEXISTS', key, when) == 1
  check_rest(job_id, state, has_body, not is_due and due, died)
end

local checked = 0
for index = FIRST_JOB, #ARGV do
  check(ARGV[index])
  checked = checked + 1
  if bytes > ENOUGH then break end
end
trim()
follow()
ring_all()
write_events()
return { checked, findings }
