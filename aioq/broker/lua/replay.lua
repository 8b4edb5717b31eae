-- Queue dead letters again, as if they had never run.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   nonce      text     of this call: sent again after a lost reply, it does nothing twice
--        job_ids    1 each
-- REPLY  verdicts   text     per job: K it is queued again; - nobody knows it; M so are many of those for
--                            whom it failed, call again; else the letter of its state: it is no dead
--                            letter, or one (f) whose payload is gone
--
-- Id, task, arguments, lane and the time of the enqueue stay.  Whatever is counted or noted of its
-- runs goes, and so does its expiry: that was about its first start.
--
-- A job that failed because of another one waits again when that one is replayed; to replay it is to
-- replay those for whom it failed.

local call = redis.call
local prefix = KEYS[1]
local nonce = ARGV[1]
local FIRST_JOB = 2
local MOST = 100 -- of those for whom one has failed
local looks = 5 * MOST -- at others, in a call; five for each that is queued

-- include now
-- include lane
-- include ring
-- include event
-- include ready
-- include delay
-- include reopen

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
local verdicts = {}

-- Queue one job; return its verdict.
local function replay(job_id)
  local key, body = prefix .. 'j:' .. job_id, prefix .. 'y:' .. job_id
  local record = call('HMGET', key, 's', 'l', 'q', 'k', 'h')
  local state = record[1]
  if not state then return '-' end
  if record[2] == nonce then return 'K' end
  if state ~= 'f' then return state end
  if call('HEXISTS', key, 'v') == 1 then return nil end
  local payload = call('GET', body)
  if not payload or payload == '' then return 'f' end
  local lane = record[3] or COMMON_LANE
  local queue = queue_of(lane)
  call('ZREM', prefix .. 'x', job_id)
  call('DEL', body, prefix .. 'v:' .. job_id)
  call('HDEL', key, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'i', 'k', 'm', 'o', 'p', 'x')
  call('HSET', key, 'l', nonce)
  note_event('q', job_id)
  reopen(job_id)
  if wait_of(lane, record[4]) == lane and not record[5] then
    ready(job_id, lane, payload)
  else
    -- It ran in another stream, where an entry of this millisecond may have the id that it would get
    -- here, and the fence would let a late word about that one pass.
    call('HSET', key, 's', 'd', 'd', now_ms + 1)
    delay(job_id, now_ms + 1, payload, queue)
  end
  ring_later(queue, 1)
  return 'K'
end

-- Queue those for whom a job has failed, at whatever distance.  Each that is queued leaves the list of
-- those, so that the next call goes on with the others.
local function replay_culprits(job_id)
  local jobs, seen, verdict, at = { job_id }, {}, 'f', 1
  local function queue_culprit(culprit)
    seen[culprit], looks = true, looks - 1
    local found = replay(culprit)
    if found == 'K' then looks = looks - 4 end
    if found and verdict ~= 'K' then verdict = found end
    return found
  end
  while jobs[at] and looks > 0 do
    local flat = call('HRANDFIELD', prefix .. 'gx:' .. jobs[at], MOST, 'WITHVALUES')
    for n = 2, #flat, 2 do
      local culprit = flat[n]
      if looks > 0 and not seen[culprit] and not queue_culprit(culprit) then
        jobs[#jobs + 1] = culprit
        local first = call('HGET', prefix .. 'j:' .. culprit, 'v') -- of a chain, however long
        if first and not seen[first] then queue_culprit(first) end
      end
    end
    at = at + 1
  end
  if verdict == 'K' and looks <= 0 then return 'M' end
  if verdict == 'K' then call('HSET', prefix .. 'j:' .. job_id, 'l', nonce) end
  return verdict
end

for index = FIRST_JOB, #ARGV do
  verdicts[#verdicts + 1] = replay(ARGV[index]) or replay_culprits(ARGV[index])
end
ring_all()
write_events()
return table.concat(verdicts)
