-- Give back what a worker was handed in a reply that it never got.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   worker     text
--        epoch      int      its new one, for each call another: a fetch of an older epoch that is
--                            still on its way is refused, so nothing is handed out after this
--                            that nobody hears of; and so is this call, should it come late
--        most       int      deliveries per call, so that it stays short
--        known      1 each   entry id, space, job id of what the worker knows of; entries of two
--                            lanes may have the same id
-- REPLY  given      int      deliveries given back; as many as `most`: call again
--
-- Without a lease there is nothing to give back, and nothing that would forget the epoch.

local call = redis.call
local prefix = KEYS[1]
local worker, epoch, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local FIRST_KNOWN = 4

-- include now
-- include watch
-- include lane
-- include record
-- include ring
-- include ready
-- include delay
-- include event
-- include finish
-- include enqueued
-- include park
-- include slots
-- include again
-- include revoked
-- include follow

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
if not has_lease(worker) then return 0 end
if tonumber(call('HGET', prefix .. 'e', worker) or 0) >= epoch then
  return redis.error_reply('ERR this recovery comes too late')
end
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
    if given == most then break end
    local entry_id = pending[n][1]
    local entry = call('XRANGE', stream, entry_id, entry_id)[1]
    local job_id = entry and entry[2][2]
    if not known[entry_id .. ' ' .. (job_id or '')] then
      call('XACK', stream, 'w', entry_id)
      call('XDEL', stream, entry_id)
      local record = job_id and read_record(job_id)
      if record and record[TOKEN] == entry_id and not has_ended(record[STATE]) then
        release(job_id, record[HOLDS])
        if record[REVOKE] then
          revoked(job_id, record, tonumber(record[REVOKE]))
        else
          again(job_id, record, now_ms, entry[2][4] or '')
        end
      end
      given = given + 1
    end
  end
end
follow()
ring_all()
write_events()
return given
