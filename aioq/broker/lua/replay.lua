-- Queue dead letters again, as if they had never run.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   nonce      text     of this call: sent again after a lost reply, it does nothing twice
--        job_ids    1 each
-- REPLY  verdicts   text     per job: K it is queued again; - nobody knows it; else the letter of
--                            its state: it is no dead letter, or one (f) whose payload is gone
--
-- Id, task, arguments, lane and the time of the enqueue stay.  Whatever is counted or noted of its
-- runs goes, and so does its expiry: that was about its first start.

local call = redis.call
local prefix = KEYS[1]
local nonce = ARGV[1]
local FIRST_JOB = 2

-- include now
-- include lane
-- include ring
-- include ready
-- include delay

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
  local payload = call('GET', body)
  if not payload or payload == '' then return 'f' end
  local lane = record[3] or COMMON_LANE
  local queue = queue_of(lane)
  call('ZREM', prefix .. 'x', job_id)
  call('DEL', body, prefix .. 'v:' .. job_id)
  call('HDEL', key, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'i', 'k', 'm', 'o', 'p', 'x')
  call('HSET', key, 'l', nonce)
  call('PERSIST', key)
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

for index = FIRST_JOB, #ARGV do
  verdicts[#verdicts + 1] = replay(ARGV[index])
end
ring_all()
return table.concat(verdicts)
