-- Count the jobs in lines behind gates.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   lines      1 each   a gate, a space and a fair key
-- REPLY  jobs       int

local call = redis.call
local prefix = KEYS[1]

local jobs = 0
for _, line in ipairs(ARGV) do jobs = jobs + call('ZCARD', prefix .. 'hq:' .. line) end
return jobs
