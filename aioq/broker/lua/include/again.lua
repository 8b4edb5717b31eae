-- Let a job run again: what was noted of the delivery that has ended goes.  It is told as queued, or
-- as the step that is given.
local function again(job_id, record, due_ms, payload, step)
  note_event(step or 'q', job_id)
  local lane, key = wait_of(record[LANE], record[CRASHES]), prefix .. 'j:' .. job_id
  call('HINCRBY', key, 'a', 1)
  call('HSET', key, 'n', enqueued(record[ENQUEUED], record[TOKEN])) -- its first entry id goes
  call('HDEL', key, 'b', 'm', 'o', 'p')
  if due_ms > now_ms then
    call('HSET', key, 's', 'd', 'd', due_ms)
    delay(job_id, due_ms, payload, queue_of(lane))
  elseif record[HOLDS] then
    call('HSET', key, 's', 'p')
    park(job_id, lane, record[HOLDS], payload)
  else
    ready(job_id, lane, payload)
    ring_later(queue_of(lane), 1)
  end
end
