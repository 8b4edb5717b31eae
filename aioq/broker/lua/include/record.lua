-- What is read of a record before its delivery is ended, in this order.
local STATE, TOKEN, LANE, ENQUEUED, WAITERS, BEGUN, RETRIES, CRASHES = 1, 2, 3, 4, 5, 6, 7, 8
local REVOKE, HOLDS = 9, 10

local function read_record(job_id)
  return call('HMGET', prefix .. 'j:' .. job_id, 's', 'i', 'q', 'n', 'w', 'b', 'e', 'k', 'c', 'h')
end

local function has_ended(state)
  return state == 'c' or state == 'f' or state == 'x'
end
