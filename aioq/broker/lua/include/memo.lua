-- The memo of a durable job, dm:<job>: what its runs have done so far, by name.
--
-- s<value> a step has returned; z<due> a sleep; p<print> <child> a child goes on, P the same and the
-- job waits for it, r<state><print> <child> <value> it has ended, R<state><print> <child> the
-- same with a value in dr:<job>, for it is large; e<deadline> <event> the job waits
-- for an event, E<event> <value> it has come, T<event> it has not come in time.
--
-- Names that begin with a space are the memo's own: ' b' the bytes of its steps, ' c' the number of
-- its children, ' w' how many of them the job waits for, ' e' its waits for events, ' @<event>' the
-- last event of that name that it got, ' !<event>' those that were sent to it alone.

local function is_current(record, entry_id)
  return record[STATE] == 'r' and record[TOKEN] == entry_id
end

-- See to it that the memo goes with its job.
local function keep_memo(job_id, words)
  if words and string.find(' ' .. words .. ' ', ' % ', 1, true) then return end
  call('HSET', prefix .. 'j:' .. job_id, 'w', words and words .. ' %' or '%')
end
