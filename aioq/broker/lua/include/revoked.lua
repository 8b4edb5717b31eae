-- Stop telling a worker of a revoke.
local function heard(job_id, token)
  local worker = call('HGET', prefix .. 'j:' .. job_id, 'o')
  if worker then call('SREM', prefix .. 'cx:' .. worker, token .. ' ' .. job_id) end
end

-- End a job whose revoke is recorded, whatever its run came to.
local function revoked(job_id, record, keep_ms)
  heard(job_id, record[TOKEN] or '')
  call('DEL', prefix .. 'v:' .. job_id) -- the error of an earlier try
  local enqueued_ms = enqueued(record[ENQUEUED], record[TOKEN])
  finish(job_id, 'x', 'revoked', keep_ms, record[WAITERS], enqueued_ms, record[BEGUN])
end
