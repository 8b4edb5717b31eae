-- Ask for the ends of jobs, and ask to be told of those that are still to come.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   client     text     told on its channel when a job ends; '' only asks
--        job_ids    1 each
-- REPLY  ends       2 each   state, value: c, f or x with its value (nil: it has expired);
--                            '-' it has not ended, '' nobody knows it

local call = redis.call
local prefix, client = KEYS[1], ARGV[1]

local ends, size = {}, 0
for index = 2, #ARGV do
  local job_id = ARGV[index]
  local key = prefix .. 'j:' .. job_id
  local record = call('HMGET', key, 's', 'i', 'w')
  local state, value, waiters = record[1], record[2], record[3]
  if not state then
    state, value = '', ''
  elseif state == 'c' or state == 'f' or state == 'x' then
    value = value or call('GET', prefix .. 'v:' .. job_id)
  else
    state, value = '-', ''
    if client ~= '' then
      -- A write that a full server allows, so that the rest passes; who only asks writes nothing.
      call('DEL', prefix .. '~')
      if not waiters then
        call('HSET', key, 'w', client)
      elseif not string.find(' ' .. waiters .. ' ', ' ' .. client .. ' ', 1, true) then
        call('HSET', key, 'w', waiters .. ' ' .. client)
      end
    end
  end
  ends[size + 1], ends[size + 2] = state, value
  size = size + 2
end
return ends
