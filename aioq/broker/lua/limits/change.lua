-- Set a limit at run time, or go back to what the code declares.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   limit      text     b:<name> or c:<name>
--        numbers    text     "" to go back
-- REPLY  declared   0 or 1   1: the code declares it

local call = redis.call
local prefix = KEYS[1]
local limit, numbers = ARGV[1], ARGV[2]

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
if numbers == '' then
  call('HDEL', prefix .. 'lr', limit)
else
  call('HSET', prefix .. 'lr', limit, numbers)
end
return call('HGET', prefix .. 'lc', limit) and 1 or 0
