-- Create jobs.  A job id that is known already is left as it is.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   count      int      number of jobs
--        ask        0 or 1   1: say which queues nobody serves
--        jobs       7 each   job_id, lane, task, due, expires, nonce, payload
-- REPLY  created    text     per job: 1 this call made it, 0 it was there, r it is refused; then, each
--                            after a space, :<index>:<job id> for those in whose place another job
--                            is there, and where that was asked the queues that no live worker serves
--
-- Where a job has limits its lane is followed by a space and its holds, such as 'b:send: c:mail:',
-- before which a word such as 'u:dr::key' asks for a unique key.
-- Sent again after a lost reply it makes nothing new: a generated id is its own proof, an id
-- chosen by the user is recognised by the nonce of the call that made it (G5).

local call = redis.call
local prefix = KEYS[1]
local count, ask = tonumber(ARGV[1]), ARGV[2] == '1'

-- include lane

-- Most calls bring one job with a generated id that is due now: no clock, no tables, no loops.
local is_plain = count == 1 and not ask and ARGV[6] == '' and ARGV[7] == '' and ARGV[8] == ''
if is_plain and not string.find(ARGV[4], ' ', 1, true) then
  local job_id, lane = ARGV[3], ARGV[4]
  local record = prefix .. 'j:' .. job_id
  if call('EXISTS', record) == 0 then
    local entry_id = call('XADD', prefix .. 's:' .. lane, '*', 'j', job_id, 'p', ARGV[9])
    if lane == COMMON_LANE then
      call('HSET', record, 's', 'q', 't', ARGV[5], 'i', entry_id)
    else
      call('HSET', record, 's', 'q', 't', ARGV[5], 'i', entry_id, 'q', lane)
    end
    call('SADD', prefix .. 'l', lane)
    -- Also where the queue is paused: that wakes a worker in vain, which costs less than to ask here.
    local bell = prefix .. 'b:' .. string.sub(lane, 1, -3) -- a priority has one digit
    if call('LLEN', bell) < 16 then call('RPUSH', bell, '') end
    -- Not bounded here: other calls do that, of a producer alone the one a second that asks.
    call('XADD', prefix .. 'ev', 'NOMKSTREAM', '*', 'e', '\nq ' .. job_id)
  end
  return '1'
end

-- include now
-- include moment
-- include ring
-- include event
-- include delay
-- include park
-- include make

local created, there = {}, ''
for index = 0, count - 1 do
  local at = 3 + index * 7
  local due, expires = moment(ARGV[at + 3]), moment(ARGV[at + 4])
  local flag, other =
    make(ARGV[at], ARGV[at + 1], ARGV[at + 2], due, expires, ARGV[at + 5], ARGV[at + 6])
  created[index + 1] = flag
  if other then there = there .. ' :' .. index .. ':' .. other end
end
ring_made()
write_events()

local unserved = ''
if ask then
  for name in pairs(made) do
    if call('EXISTS', prefix .. 'sv:' .. name) == 0 then unserved = unserved .. ' ' .. name end
  end
end
return table.concat(created) .. there .. unserved
