-- Say which limits the code has.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   source     text     whose code it is
--        version    int      when the process declared for the first time, in microseconds; 0: now
--        complete   0 or 1   1: the source has no others, and those it had go
--        limits     2 each   field, numbers
-- REPLY  version    int
--        changed    list     fields of limits that are others than before
--
-- The newest process of a source wins: of one that is older nothing is taken, so a rolling deploy
-- does not flap.  Limits of other sources stay, but for those that both declare.

local call = redis.call
local prefix = KEYS[1]
local source, version, complete = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local FIRST, STRIDE = 4, 2

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

-- include now

if version == 0 then version = time[1] * 1000000 + time[2] end
local declared, newest = prefix .. 'lc', 's:' .. source
local changed, given = {}, {}
local noted = call('HGET', declared, newest)
if tonumber(noted or 0) > version then return { version, changed } end

local stamp = string.format('%.0f', version)
for at = FIRST, #ARGV, STRIDE do
  local field, numbers = ARGV[at], ARGV[at + 1]
  given[field] = true
  local since, was = string.match(call('HGET', declared, field) or '0  ', '^(%S+) %S* (.*)$')
  if tonumber(since) <= version then
    if was ~= numbers then changed[#changed + 1] = field end
    call('HSET', declared, field, stamp .. ' ' .. source .. ' ' .. numbers)
  end
end
if complete then
  local known = call('HGETALL', declared)
  for n = 1, #known, 2 do
    local field, owner = known[n], string.match(known[n + 1], '^%S+ (%S+) ')
    if owner == source and not given[field] then
      call('HDEL', declared, field)
      changed[#changed + 1] = field
    end
  end
  -- A source that never had a limit leaves nothing behind.
  if noted or next(given) then call('HSET', declared, newest, stamp) end
end
return { version, changed }
