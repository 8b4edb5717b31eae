-- Take a job out of its worker until what it waits for has come: a time, the event of one of its
-- waits, or the ends of all of its children that are named.  Whatever has come since the task has
-- looked makes it ready at once.
local function suspend(job_id, record, due_ms, names, payload)
  local key, memo = prefix .. 'j:' .. job_id, prefix .. 'dm:' .. job_id
  local missing, has_children, has_come = 0, false, due_ms > 0 and due_ms <= now_ms
  for name in string.gmatch(names, '[^\n]+') do
    local entry = call('HGET', memo, name) or ''
    local kind = string.sub(entry, 1, 1)
    if kind == 'p' or kind == 'P' then
      missing = missing + 1
      entry = 'P' .. string.sub(entry, 2)
      call('HSET', memo, name, entry)
    elseif kind == 'r' or kind == 'R' then
      has_children = true
    elseif kind ~= 'e' then
      has_come = true
    end
  end
  call('HDEL', key, 'x', 'g', 'k') -- its expiry was about its first start, and it is no suspect
  record[CRASHES] = nil
  if has_come or has_children and missing == 0 then
    again(job_id, record, now_ms + 1, payload)
    return
  end
  note_event('q', job_id)
  call('HSET', memo, ' w', missing)
  call('HINCRBY', key, 'a', 1)
  call('HSET', key, 's', 's', 'n', enqueued(record[ENQUEUED], record[TOKEN]))
  call('HDEL', key, 'b', 'm', 'o', 'p', 'd')
  if due_ms > 0 then
    call('HSET', key, 'd', due_ms)
    delay(job_id, due_ms, payload, queue_of(record[LANE] or COMMON_LANE))
  else
    call('SET', prefix .. 'y:' .. job_id, payload)
  end
end
