-- Add items to what a running job streams.
--
-- KEYS   prefix      anchor   every key of the partition starts with it
-- ARGV   job_id      text
--        entry_id    text     the delivery
--        generation  int      what the first call of this delivery has returned; 0: this is the first
--        first       int      number of the first item, from 1
--        items       1 each
-- REPLY  generation  int      the one they belong to; 0: the delivery was taken over, or has ended
--
-- An item's entry id is its position: the generation, and its number in it.  So a call that is sent
-- again adds nothing twice.  Each generation begins with an entry of number 0, which has its token.
-- While the job lives its items do not expire; the word `~` in its record says that they end with it.

local call = redis.call
local prefix = KEYS[1]
local job_id, entry_id = ARGV[1], ARGV[2]
local generation, first = tonumber(ARGV[3]), tonumber(ARGV[4])
local FIRST, KEPT = 5, 10000

local key, stream = prefix .. 'j:' .. job_id, prefix .. 'si:' .. job_id
local record = call('HMGET', key, 's', 'i', 'a', 'w')
local is_running = record[1] == 'r' or record[1] == 'q' -- as in settle.lua, which has the last word
if not is_running or record[2] ~= entry_id then return 0 end

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local newest, number = string.match(last and last[1] or '0-0', '^(%d+)-(%d+)$')
newest, number = tonumber(newest), tonumber(number)

if generation == 0 then
  local start = newest .. '-0'
  local begun = call('XRANGE', stream, start, start)[1]
  if begun and begun[2][2] == entry_id then
    generation = newest
  else
    generation = math.max(newest, record[3] or 0) + 1
    call('XADD', stream, generation .. '-0', 'g', entry_id)
    call('PERSIST', stream) -- a dead letter that was replayed has those of its last run
  end
end

local have = newest == generation and number or 0
for at = FIRST, #ARGV do
  local next = first + at - FIRST
  if next > have and at < #ARGV then
    call('XADD', stream, generation .. '-' .. next, 'i', ARGV[at])
  elseif next > have then
    call('XADD', stream, 'MAXLEN', '=', KEPT, generation .. '-' .. next, 'i', ARGV[at])
  end
end

local words = record[4]
if not string.find(' ' .. (words or '') .. ' ', ' ~ ', 1, true) then
  call('HSET', key, 'w', words and words .. ' ~' or '~')
end
for word in string.gmatch(words or '', '%S+') do
  if string.find(word, '^%x') then
    call('PUBLISH', prefix .. 'r:' .. word, '~' .. string.char(#job_id) .. job_id)
  end
end
return generation
