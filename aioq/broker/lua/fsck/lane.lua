-- Check a slice of a lane: each entry has its job, the lane its indexes, each consumer its lease.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   repair     0 or 1   1: mend what is found
--        lane       text
--        after      text     what the call before has replied; '' begins
--        most       int      entries per call, so that it stays short
-- REPLY  after      text     for the next call; '' there is no more
--        waiting    int      entries that nobody has got yet
--        held       int      entries that a worker holds
--        findings   4 each   code, name, detail, what was done: '' nothing
--
-- Entry, record and index are read in one moment, so what goes on meanwhile is no damage.

local call = redis.call
local prefix = KEYS[1]
local repair, lane, after, most = ARGV[1] == '1', ARGV[2], ARGV[3], tonumber(ARGV[4])
local ENOUGH = 1048576 -- bytes: a slice ends behind the entry that passes it
local stream = prefix .. 's:' .. lane

-- include now
-- include lane
-- include record
-- include ring
-- include silence
-- include stream
-- include found
-- include group
-- include entry

if repair then call('DEL', prefix .. '~') end -- a write that a full server allows

local function unlist(index)
  return function()
    call('SREM', prefix .. index, lane)
    return 'removed'
  end
end

local function list(index)
  return function()
    call('SADD', prefix .. index, lane)
    if index == 'l' then ring(queue_of(lane), 1) end
    return 'listed'
  end
end

-- Whether gates of the lane are ready; '' is none, and only says whose turn it is.
local function check_ready()
  local gates = call('ZRANGE', prefix .. 'hr:' .. lane, 0, 1)
  if #gates ~= 1 or gates[1] ~= '' then return #gates > 0 end
  found('turn-left', lane, '', function()
    call('DEL', prefix .. 'hr:' .. lane)
    return 'removed'
  end)
  return false
end

local function check_lane(group, size)
  local is_seen = call('SISMEMBER', prefix .. 'l', lane) == 1
  local has_group = call('SISMEMBER', prefix .. 'ss', lane) == 1
  if has_group and not group then found('group-gone', lane, '', unlist('ss')) end
  if group and not has_group then found('group-unlisted', lane, '', list('ss')) end
  local has_gates = check_ready()
  if call('EXISTS', stream) == 0 and not has_gates then
    if is_seen then found('lane-gone', lane, '', unlist('l')) end
    return
  end
  local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if not is_seen and (has_gates or last and not was_handed_out(lane, last[1])) then
    found('lane-unlisted', lane, '', list('l'))
  end
  local consumers = group and call('XINFO', 'CONSUMERS', stream, 'w') or {}
  for _, flat in ipairs(consumers) do
    local consumer = {}
    for n = 1, #flat, 2 do consumer[flat[n]] = flat[n + 1] end
    if not call('ZSCORE', prefix .. 'lw', consumer.name) then
      found('worker-unleased', consumer.name, lane .. ' (holds ' .. consumer.pending .. ')')
    end
  end
  if size == 0 and #consumers == 0 and call('EXISTS', stream) == 1 then
    found('lane-empty', lane, '', function()
      remove_if_empty(lane)
      return 'removed'
    end)
  end
end

-- The job may have lost its own entry: then what it needs to run is kept for it.
local function rescue(job_id, record, entry_id, payload)
  local place, body = place_of(record[LANE], record[CRASHES], record[HOLDS]), prefix .. 'y:' .. job_id
  local is_here = place == lane and record[TOKEN] == entry_id
  local has_other = not is_here and payload_of(place, record[TOKEN] or '', job_id)
  if has_ended(record[STATE]) or has_other or call('EXISTS', body) == 1 then return 'removed' end
  call('SET', body, payload)
  return 'kept'
end

local KNOWN = 'qrdpswcfx'

local function check_entry(entry_id, fields)
  local name = lane .. ' ' .. entry_id
  local function remove()
    remove_entry(lane, entry_id)
    return 'removed'
  end
  if fields[1] ~= 'j' or fields[3] ~= 'p' then return found('entry-strange', name, '', remove) end
  local job_id = fields[2]
  local kind = call('TYPE', prefix .. 'j:' .. job_id).ok
  if kind == 'none' then return found('entry-unknown', name, job_id, remove) end
  if kind ~= 'hash' then return end
  local record = read_record(job_id)
  local state = record[STATE]
  local is_listed = (state == 'q' or state == 'r') and record[TOKEN] == entry_id
  if is_listed and place_of(record[LANE], record[CRASHES], record[HOLDS]) == lane then return end
  if not state or not string.find(KNOWN, state, 1, true) then return end
  found('entry-stale', name, job_id, function()
    local did = rescue(job_id, record, entry_id, fields[4])
    remove_entry(lane, entry_id)
    return did
  end)
end

local kind = call('TYPE', stream).ok
if kind ~= 'stream' and kind ~= 'none' then return { '', 0, 0, {} } end
local group, size = group_of(lane), call('XLEN', stream)
local held = group and group.pending or 0
if after == '' then check_lane(group, size) end

local start, bytes = after == '' and '-' or '(' .. after, 0
after = ''
for n = 1, most + 1 do
  local entry = call('XRANGE', stream, start, '+', 'COUNT', 1)[1]
  if not entry then break end
  if n > most or bytes > ENOUGH then
    after = string.sub(start, 2)
    break
  end
  check_entry(entry[1], entry[2])
  bytes = bytes + #(entry[2][4] or '')
  start = '(' .. entry[1]
end
if repair and #findings > 0 then remove_if_empty(lane) end
return { after, math.max(size - held, 0), held, findings }
