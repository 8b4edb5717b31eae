-- Count what is left to do in some lanes: ready, running, and delayed but due.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   lanes      1 each   queue:priority
-- REPLY  jobs       int

local call = redis.call
local prefix = KEYS[1]

-- include now

local jobs = call('ZCOUNT', prefix .. 'd', '-inf', now_ms)
for _, lane in ipairs(ARGV) do
  jobs = jobs + call('XLEN', prefix .. 's:' .. lane)
end
return jobs
