-- Let a job run again: what was noted of the delivery that has ended goes.
local rings = {}

local function again(job_id, record, due_ms, payload)
  local place, key = place_of(record[LANE], record[CRASHES]), prefix .. 'j:' .. job_id
  local queue = queue_of(place)
  call('HINCRBY', key, 'a', 1)
  call('HSET', key, 'n', enqueued(record[ENQUEUED], record[TOKEN])) -- its first entry id goes
  call('HDEL', key, 'b', 'm', 'o', 'p')
  if due_ms <= now_ms then
    ready(job_id, place, payload)
    rings[queue] = (rings[queue] or 0) + 1
  else
    call('HSET', key, 's', 'd', 'd', due_ms)
    if delay(job_id, due_ms, payload) then
      rings[queue] = rings[queue] or 1
    end
  end
end

local function ring_all()
  for queue, jobs in pairs(rings) do ring(queue, jobs) end
end
