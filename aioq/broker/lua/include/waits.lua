-- What is wrong with a job that waits for others.
local function give_up_waiting(job_id, record)
  call('PEXPIRE', prefix .. 'g:' .. job_id, dead_ms)
  return give_up(job_id, record)
end

function CHECKS.w(job_id, record)
  if not has_payload(job_id, record, 'waiting-lost', give_up_waiting) then return end
  -- include moment
  -- include begin
  local waiting, inputs = read_waiting(job_id), prefix .. 'g:' .. job_id
  if not waiting.kind then
    found('waiting-strange', job_id, '', function() return give_up_waiting(job_id, record) end)
  elseif waiting.needs > 0 and call('HLEN', inputs) >= waiting.needs then
    found('waiting-complete', job_id, '', function()
      begin(waiting)
      return 'begun'
    end)
  else
    return true
  end
end
