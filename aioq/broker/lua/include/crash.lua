-- A delivery ended with the death of its process.  The first time the job runs again at once;
-- then it is a suspect, delayed more and more, until its task's limit buries it.  Retries are
-- not touched: it was no error of the task that anybody saw.
local function crash(job_id, record, payload, error)
  local key = prefix .. 'j:' .. job_id
  local crashes = (record[CRASHES] or 0) + 1
  local limit = call('HGET', prefix .. 'o', call('HGET', key, 't') or '') or '3'
  record[CRASHES] = crashes
  call('HSET', key, 'k', crashes)
  if limit ~= 'inf' and crashes >= tonumber(limit) then
    bury(job_id, error(crashes, limit), payload, record)
  elseif crashes < 2 then
    again(job_id, record, now_ms, payload)
  else
    again(job_id, record, now_ms + math.min(2 ^ crashes, 30) * 1000, payload)
  end
end
