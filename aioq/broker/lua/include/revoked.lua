-- End a running job whose revoke is recorded, whatever its run came to.
local function revoked(job_id, record, keep_ms)
  local key = prefix .. 'j:' .. job_id
  local worker = call('HGET', key, 'o')
  if worker then call('SREM', prefix .. 'cx:' .. worker, job_id) end
  call('DEL', prefix .. 'v:' .. job_id) -- the error of an earlier try
  local enqueued_ms = enqueued(record[ENQUEUED], record[TOKEN])
  finish(job_id, 'x', 'revoked', keep_ms, record[WAITERS], enqueued_ms, record[BEGUN])
end
