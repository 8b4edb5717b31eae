-- A worker says goodbye: its lease and its presence go, its consumers too where they hold nothing.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   worker     text
--        lanes      1 each   the lanes it has read
-- REPLY  held       int      deliveries it still holds; its lease stays then, for the reaper

local call = redis.call
local prefix, worker = KEYS[1], ARGV[1]
local FIRST_LANE = 2

local held = 0
for index = FIRST_LANE, #ARGV do
  local stream = prefix .. 's:' .. ARGV[index]
  local pending = redis.pcall('XPENDING', stream, 'w', '-', '+', 100, worker)
  if not pending.err then
    if #pending == 0 then
      call('XGROUP', 'DELCONSUMER', stream, 'w', worker)
      -- A stream without entries and consumers is only a key: let an empty system be empty.
      if call('XLEN', stream) == 0 and #call('XINFO', 'CONSUMERS', stream, 'w') == 0 then
        call('DEL', stream)
      end
    end
    held = held + #pending
  end
end
if held == 0 then
  call('ZREM', prefix .. 'lw', worker)
end
call('DEL', prefix .. 'w:' .. worker)
return held
