-- Note in the memo of a running job that a step has returned, or when a sleep is over.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   job_id     text
--        entry_id   text     its delivery
--        most       int      bytes that the steps of one job may take
--        name       text     of the step or the sleep; what is noted already stays
--        kind       text     s a step, z a sleep
--        value      text     the result; milliseconds
-- REPLY  now_ms     int      the server's clock; -1: the delivery was taken over, or has ended;
--                            -2: it would be too much
--        noted      text     the entry; the bytes that it would be

local call = redis.call
local prefix = KEYS[1]
local job_id, entry_id, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local name, kind, value = ARGV[4], ARGV[5], ARGV[6]

-- include now
-- include record
-- include moment
-- include memo

local due = kind == 'z' and moment('+' .. value)
if kind ~= 's' and not due then return redis.error_reply('ERR note ' .. kind .. ' ' .. value) end
local record = read_record(job_id)
if not is_current(record, entry_id) then return { -1, '' } end
local memo = prefix .. 'dm:' .. job_id
local noted = call('HGET', memo, name)
if noted then return { now_ms, noted } end
local bytes = tonumber(call('HGET', memo, ' b') or 0) + #name + #value
if bytes > most then return { -2, string.format('%.0f', bytes) } end

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
keep_memo(job_id, record[WAITERS])
noted = kind .. (due and string.format('%.0f', due) or value)
call('HSET', memo, name, noted, ' b', bytes)
return { now_ms, noted }
