-- Create jobs.  A job id that is known already is left as it is.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   count      int      number of jobs
--        ask        0 or 1   1: say which queues nobody serves
--        jobs       7 each   job_id, lane, task, due, expires, nonce, payload
-- REPLY  created    text     per job: 1 this call made it, 0 it was there; then, where that was
--                            asked, a space and the name of each queue that no live worker serves
--
-- Sent again after a lost reply it makes nothing new: a generated id is its own proof, an id
-- chosen by the user is recognised by the nonce of the call that made it (G5).

local call = redis.call
local prefix = KEYS[1]
local count, ask = tonumber(ARGV[1]), ARGV[2] == '1'

-- include lane

-- Most calls bring one job with a generated id that is due now: no clock, no tables, no loops.
if count == 1 and not ask and ARGV[6] == '' and ARGV[7] == '' and ARGV[8] == '' then
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
    local bell = prefix .. 'b:' .. string.sub(lane, 1, -3) -- a priority has one digit
    if call('LLEN', bell) < 16 then call('RPUSH', bell, '') end
  end
  return '1'
end

-- include now
-- include moment
-- include ring
-- include delay

local created, arrivals, heads = {}, {}, {}
local lane, queue, served

for index = 0, count - 1 do
  local at = 3 + index * 7
  local job_id, task, payload = ARGV[at], ARGV[at + 2], ARGV[at + 6]
  local due, expires, nonce = moment(ARGV[at + 3]), moment(ARGV[at + 4]), ARGV[at + 5]
  if lane ~= ARGV[at + 1] then
    lane = ARGV[at + 1]
    queue = queue_of(lane)
    arrivals[queue] = arrivals[queue] or 0
  end

  local record = prefix .. 'j:' .. job_id
  local maker = call('HMGET', record, 's', 'u')
  if maker[1] then
    created[index + 1] = (nonce == '' or maker[2] == nonce) and '1' or '0'
  else
    created[index + 1] = '1'
    local fields, size = { 's', 'q', 't', task }, 4
    if lane ~= COMMON_LANE then
      fields[5], fields[6], size = 'q', lane, 6
    end
    if nonce ~= '' then
      fields[size + 1], fields[size + 2], size = 'u', nonce, size + 2
    end
    if expires then
      fields[size + 1], fields[size + 2], size = 'x', expires, size + 2
    end
    if due and due > now_ms then
      fields[2] = 'd'
      fields[size + 1], fields[size + 2], fields[size + 3], fields[size + 4] = 'd', due, 'n', now_ms
      -- It ends as soon as it expires, even where that is before it is due.
      if delay(job_id, expires and math.min(due, expires) or due, payload) then
        heads[queue] = true
      end
    else
      local entry_id = call('XADD', prefix .. 's:' .. lane, '*', 'j', job_id, 'p', payload)
      fields[size + 1], fields[size + 2] = 'i', entry_id
      arrivals[queue] = arrivals[queue] + 1
      if served ~= lane then
        call('SADD', prefix .. 'l', lane)
        served = lane
      end
    end
    call('HSET', record, unpack(fields))
  end
end

local unserved = ''
for name, jobs in pairs(arrivals) do
  if heads[name] then jobs = jobs + 1 end
  if jobs > 0 then ring(name, jobs) end
  if ask and call('EXISTS', prefix .. 'sv:' .. name) == 0 then
    unserved = unserved .. ' ' .. name
  end
end
return table.concat(created) .. unserved
