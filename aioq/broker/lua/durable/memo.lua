-- Read what a job has done so far.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   job_id     text
--        entry_id   text     its delivery
-- REPLY  now_ms     int      the server's clock; -1: the delivery was taken over, or has ended
--        nonce      text     of the call that made the job; '' its id was generated
--        memo       2 each   name, entry; `include/memo.lua` says what entries are

local call = redis.call
local prefix = KEYS[1]
local job_id, entry_id = ARGV[1], ARGV[2]

-- include now
-- include record
-- include memo

if not is_current(read_record(job_id), entry_id) then return { -1, '', {} } end
local nonce = call('HGET', prefix .. 'j:' .. job_id, 'u') or ''
return { now_ms, nonce, call('HGETALL', prefix .. 'dm:' .. job_id) }
