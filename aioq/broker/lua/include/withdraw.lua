-- Take a job out of the place in which it waits, or is held by its worker.  Its record stays.
local function withdraw(job_id, record)
  local state, token = record[STATE], record[TOKEN]
  if state == 'q' or state == 'r' then
    local place = place_of(record[LANE], record[CRASHES], record[HOLDS])
    call('XACK', prefix .. 's:' .. place, 'w', token)
    call('XDEL', prefix .. 's:' .. place, token)
    remove_if_empty(place)
    release(job_id, record[HOLDS])
  elseif state == 'p' or state == 'd' or state == 's' then
    if state == 'p' then
      local gate = unpark(job_id, wait_of(record[LANE], record[CRASHES]), record[HOLDS] or '')
      if gate then yield(gate) end
    else
      call('ZREM', prefix .. 'd', job_id)
    end
    call('DEL', prefix .. 'y:' .. job_id)
    silence(queue_of(record[LANE] or COMMON_LANE))
  end
end
