-- Hand jobs of a lane out to a worker: from its stream, and from its ready gates.  What the gates
-- need is made when the first of them is ready, for each function that is made takes its time.
local jobs, size, dropped = {}, 0, {}

local function hand_out(entry_id, job_id, task, index, retries, deliveries, due, payload)
  jobs[size + 1], jobs[size + 2], jobs[size + 3], jobs[size + 4] = entry_id, job_id, task, index
  jobs[size + 5], jobs[size + 6] = tonumber(retries or 0), (deliveries or 0) + 1
  jobs[size + 7], jobs[size + 8] = tonumber(due or 0), payload
  size = size + 8
  note_event('s', job_id)
  room = room - 1
end

-- Give back the unique key of a job that keeps it until it starts; a later try does without.
local function unlock(job_id, concerns)
  -- include unlock
  local rest = {}
  for word in string.gmatch(concerns, '%S+') do
    if string.sub(word, 1, 1) == '?' then
      release_unique(job_id, string.sub(word, 2))
    else
      rest[#rest + 1] = word
    end
  end
  local key = prefix .. 'j:' .. job_id
  call('HDEL', key, 'w')
  if #rest > 0 then call('HSET', key, 'w', table.concat(rest, ' ')) end
end

-- Take one entry: note it as running, or remove it where it must not run.
local function take_entry(lane, index, entry)
  local entry_id, job_id, payload = entry[1], nil, nil
  if entry[2] and entry[2][1] == 'j' and entry[2][3] == 'p' then
    job_id, payload = entry[2][2], entry[2][4]
  end
  local key = prefix .. 'j:' .. (job_id or '')
  local record = call('HMGET', key, 's', 'i', 't', 'e', 'a', 'd', 'x', 'w', 'n')
  local ours = record[1] == 'q' and record[2] == entry_id
  if ours and not (record[7] and tonumber(record[7]) <= now_ms) then
    call('HSET', key, 's', 'r', 'o', worker, 'b', now_ms - enqueued(record[9], entry_id))
    if record[8] and string.find(record[8], '?', 1, true) then unlock(job_id, record[8]) end
    hand_out(entry_id, job_id, record[3], index, record[4], record[5], record[6], payload)
    return
  end
  call('XACK', prefix .. 's:' .. lane, 'w', entry_id)
  call('XDEL', prefix .. 's:' .. lane, entry_id)
  if ours then
    call('DEL', prefix .. 'v:' .. job_id) -- the error of an earlier try
    finish(job_id, 'x', 'expired', keep_ms, record[8], enqueued(record[9], entry_id))
  else
    dropped[#dropped + 1] = lane .. ' ' .. entry_id
  end
end

local function read(lane, most)
  local stream = prefix .. 's:' .. lane
  local reply = redis.pcall('XREADGROUP', 'GROUP', 'w', worker, 'COUNT', most, 'STREAMS', stream, '>')
  if reply and reply.err then
    if not string.find(reply.err, 'NOGROUP', 1, true) then
      return reply
    end
    -- From 0, so that what arrived before the group is not skipped.
    call('XGROUP', 'CREATE', stream, 'w', '0', 'MKSTREAM')
    call('SADD', prefix .. 'ss', lane)
    reply = call('XREADGROUP', 'GROUP', 'w', worker, 'COUNT', most, 'STREAMS', stream, '>')
  end
  return reply and reply[1][2] or {}
end

-- Take up to `most` jobs of a stream; return true where it has no more, and an error if there is one.
local function take_stream(lane, index, most)
  local left = room - most
  while room > left and scan > 0 do
    local asked = room - left
    local entries = read(lane, asked)
    if entries.err then return false, entries end
    for _, entry in ipairs(entries) do take_entry(lane, index, entry) end
    scan = scan - #entries
    if #entries < asked then return true end
  end
  return false
end

local gates, make_gates

-- Take up to `most` jobs of a lane, in turn from its stream and its gates; return as above.  A member
-- '' of the ready gates, always the first, remembers whose turn it is.
local function take_lane(lane, index, most)
  local ready_gates = prefix .. 'hr:' .. lane
  if call('EXISTS', ready_gates) == 0 then return take_stream(lane, index, most) end
  gates = gates or make_gates()
  local is_streams = call('ZSCORE', ready_gates, '') == '-2'
  call('ZADD', ready_gates, -2, '')
  local left, has_gates, failure = room - most, true, nil
  local has_stream = call('EXISTS', prefix .. 's:' .. lane) == 1 -- reading one that is not makes it
  while room > left and scan > 0 and not failure and (has_stream or has_gates) do
    local part, is_done = math.min(room - left, has_stream and has_gates and 10 or room), nil
    if is_streams and has_stream then
      is_done, failure = take_stream(lane, index, part)
      has_stream = not is_done
    elseif has_gates then
      is_done, failure = gates.take(lane, index, part)
      has_gates = not is_done
    end
    is_streams = not is_streams
  end
  call('ZADD', ready_gates, is_streams and -2 or -1, '')
  if call('ZCARD', ready_gates) == 1 then call('DEL', ready_gates) end
  return not has_stream and not has_gates, failure
end
