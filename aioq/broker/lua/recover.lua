-- Give back what a worker was handed in a reply that it never got.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   worker     text
--        epoch      int      its new one: a fetch of an older epoch that is still on its way is
--                            refused, so nothing is handed out after this that nobody hears of
--        most       int      deliveries per call, so that it stays short
--        known      1 each   entry ids that the worker knows of
-- REPLY  given      int      deliveries given back; as many as `most`: call again
--
-- Without a lease there is nothing to give back, and nothing that would forget the epoch.

local call = redis.call
local prefix = KEYS[1]
local worker, epoch, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local FIRST_KNOWN = 4

-- include now
-- include lane
-- include record
-- include ring
-- include ready
-- include delay
-- include enqueued
-- include again
-- include watch

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
if not has_lease(worker) then return 0 end
call('HSET', prefix .. 'e', worker, epoch)

local known, count = {}, 0
for index = FIRST_KNOWN, #ARGV do
  known[ARGV[index]] = true
  count = count + 1
end

local given = 0
for _, lane in ipairs(call('SMEMBERS', prefix .. 'ss')) do
  local stream = prefix .. 's:' .. lane
  local pending = redis.pcall('XPENDING', stream, 'w', '-', '+', count + most, worker)
  for n = 1, pending.err and 0 or #pending do
    local entry_id = pending[n][1]
    if not known[entry_id] and given < most then
      local entry = call('XRANGE', stream, entry_id, entry_id)[1]
      call('XACK', stream, 'w', entry_id)
      call('XDEL', stream, entry_id)
      local record = entry and read_record(entry[2][2])
      if record and record[TOKEN] == entry_id and not has_ended(record[STATE]) then
        again(entry[2][2], record, now_ms, entry[2][4] or '')
      end
      given = given + 1
    end
  end
end
ring_all()
return given
