-- Tell which schedules have an occurrence that is due, by the server's clock; nothing is written.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   most       int      schedules per call
--        source     text     module:app whose code declares schedules; '' none
-- REPLY  now_ms     int      the server's clock
--        next_ms    int      when the first is due of those that are not in `due`; 0: none will be
--        due        3 each   name, occurrence, definition
--        forgotten  0 or 1   1: nothing is known of `source`, which has brought its schedules before:
--                            the server has lost what it had

local call = redis.call
local prefix = KEYS[1]
local most, source = tonumber(ARGV[1]), ARGV[2]
local ENOUGH = 1048576 -- bytes of definitions: a call ends behind the one that passes it

-- include now

local names = call('ZRANGEBYSCORE', prefix .. 'cz', '-inf', now_ms, 'WITHSCORES', 'LIMIT', 0, most)
local due, bytes, rest = {}, 0, #names == 2 * most
for n = 1, #names, 2 do
  local definition = call('HGET', prefix .. 'cr', names[n])
  if bytes > ENOUGH then
    rest = true
  elseif definition then
    due[#due + 1], due[#due + 2], due[#due + 3] = names[n], tonumber(names[n + 1]), definition
    bytes = bytes + #definition
  end
end

local later = call('ZRANGEBYSCORE', prefix .. 'cz', '(' .. now_ms, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local forgotten = source ~= '' and not call('HGET', prefix .. 'cs', source)
return { now_ms, rest and now_ms or tonumber(later[2] or 0), due, forgotten and 1 or 0 }
