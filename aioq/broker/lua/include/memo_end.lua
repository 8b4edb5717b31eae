-- The job of a memo has ended: the memo goes, and its waits for events; that of a dead letter stays
-- as long as the letter, so that a replay skips what is done.
local function forget_memo(job_id, state)
  local memo = prefix .. 'dm:' .. job_id
  for event, name in string.gmatch(call('HGET', memo, ' e') or '', '(%S+) ([^\n]+)\n') do
    call('ZREM', prefix .. 'dw:' .. event, job_id .. ' ' .. name)
  end
  if state == 'f' then
    call('HDEL', memo, ' e', ' w')
    call('PEXPIRE', memo, 604800000)
    call('PEXPIRE', prefix .. 'dr:' .. job_id, 604800000)
  else
    call('UNLINK', memo, prefix .. 'dr:' .. job_id)
  end
end
