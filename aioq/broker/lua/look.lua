-- Read all that is known of one job, in one moment.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   job_id     text
-- REPLY  record     list     fields and values of its record; empty: nobody knows it
--        payload    text     nil once it is gone
--        value      text     its result or last error; nil where there is none

local call = redis.call
local prefix, job_id = KEYS[1], ARGV[1]

-- include lane

local fields = call('HGETALL', prefix .. 'j:' .. job_id)
local record = {}
for n = 1, #fields, 2 do record[fields[n]] = fields[n + 1] end

local ended = record.s == 'c' or record.s == 'f' or record.s == 'x'
local payload = call('GET', prefix .. 'y:' .. job_id)
if not payload and record.i and not ended then
  local stream = prefix .. 's:' .. place_of(record.q, record.k, record.h)
  local entry = call('XRANGE', stream, record.i, record.i)
  payload = entry[1] and entry[1][2][4] or false
end
return { fields, payload, ended and record.i or call('GET', prefix .. 'v:' .. job_id) }
