-- Read the large results of children that have ended.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   job_id     text     the parent
--        entry_id   text     its delivery
--        numbers    1 each   of the children
-- REPLY  values     list     of the first of them, as many as one call brings; none: the delivery was
--                            taken over, or has ended

local call = redis.call
local prefix = KEYS[1]
local job_id, entry_id = ARGV[1], ARGV[2]
local FIRST_NUMBER = 3
local ENOUGH = 1048576 -- bytes: a call ends behind the value that passes it

-- include record
-- include memo

local values, bytes = {}, 0
if not is_current(read_record(job_id), entry_id) then return values end
for index = FIRST_NUMBER, #ARGV do
  local value = call('HGET', prefix .. 'dr:' .. job_id, ARGV[index]) or ''
  values[#values + 1] = value
  bytes = bytes + #value
  if bytes > ENOUGH then break end
end
return values
