-- End a job: its last state, its value, its expiry, and word to whoever waits.
--
-- A record outlives every resend of the call that made it (G5), so it is kept 120 s at least.
-- A value of up to 64 bytes takes the place of the entry id, which only a living job needs: one
-- write less, and the record stays a small listpack.  A larger value gets a key of its own.
--
-- What else its end concerns stands in the field of the waiters too, so that a plain job pays nothing
-- for it; `follow` sees to that.  Dead letters keep those words: a replay has its sequel too.
local endings

local function finish(job_id, state, value, keep_ms, waiters, enqueued_ms, begun_ms)
  note_event(state, job_id)
  local record = prefix .. 'j:' .. job_id
  local record_ms = math.max(keep_ms, 120000)
  local took_ms = now_ms - enqueued_ms - (begun_ms or 0)
  if #value <= 64 and keep_ms == record_ms then
    call('HSET', record, 'i', value, 's', state, 'f', took_ms, 'n', enqueued_ms)
  else
    call('HDEL', record, 'i')
    call('HSET', record, 's', state, 'f', took_ms, 'n', enqueued_ms)
    if keep_ms > 0 then
      call('SET', prefix .. 'v:' .. job_id, value, 'PX', keep_ms)
    end
  end
  call('PEXPIRE', record, record_ms)
  if waiters then
    call('HDEL', record, 'w')
    -- A large value is not pushed: the waiter fetches it.
    local news = #value <= 8192 and state .. string.char(#job_id) .. job_id .. value
      or '?' .. string.char(#job_id) .. job_id
    for word in string.gmatch(waiters, '%S+') do
      if string.find(word, '^%x') then
        call('PUBLISH', prefix .. 'r:' .. word, news)
      else
        endings = endings or {}
        endings[#endings + 1] = { job_id, word, state, value, keep_ms }
      end
    end
  end
end
