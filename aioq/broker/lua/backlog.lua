-- Count what waits in some lanes for a worker: ready, or delayed and due.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   lanes      1 each   queue:priority
-- REPLY  jobs       int

local call = redis.call
local prefix = KEYS[1]

-- include now

local jobs = call('ZCOUNT', prefix .. 'd', '-inf', now_ms)
for _, lane in ipairs(ARGV) do
  local stream = prefix .. 's:' .. lane
  local entries = call('XLEN', stream)
  if entries > 0 then
    local pending = redis.pcall('XPENDING', stream, 'w') -- an error: no group, nothing delivered yet
    jobs = jobs + entries - (pending.err and 0 or pending[1])
  end
end
return jobs
