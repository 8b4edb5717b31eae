-- One live job for each unique key: `un:<key>` names the job that holds it, from the call that makes
-- the job until its end, or its start; whoever ends the job, or starts it, gives the key back.
--
-- A word of the holds asks for it: `u:<until><conflict>:<for_ms>:<key>`.  until: s start, d done.
-- conflict: r return the job that is there, j reject the call, p replace a job that waits by the new
-- one, b debounce: give a job that waits the new arguments, and let it wait anew.  for_ms: the key is
-- given back at the latest then; '' never by time.
--
-- Each part is made for the first job that needs it, for each function that is made takes its time.
local unique, moves

local function make_moves()
  -- include record
  -- include finish
  -- include enqueued
  -- include slots
  -- include bucket
  -- include yield
  -- include silence
  -- include stream
  -- include withdraw
  -- include follow
  local REPLACED_MS = 3600000 -- how long a job that was replaced is known

  local function replace(job_id, record, key)
    withdraw(job_id, record)
    call('DEL', prefix .. 'v:' .. job_id) -- the error of an earlier try
    local others = {} -- the key has gone to the new job already
    for word in string.gmatch(record[WAITERS] or '', '%S+') do
      if string.sub(word, 2) ~= key then others[#others + 1] = word end
    end
    call('HDEL', prefix .. 'j:' .. job_id, 'w')
    local words = #others > 0 and table.concat(others, ' ') or nil
    local enqueued_ms = enqueued(record[ENQUEUED], record[TOKEN])
    finish(job_id, 'x', 'replaced', REPLACED_MS, words, enqueued_ms, record[BEGUN])
  end

  -- Make room for what a newer call says of a job that waits; return when it was enqueued.
  local function clear(job_id, record)
    local enqueued_ms = enqueued(record[ENQUEUED], record[TOKEN])
    withdraw(job_id, record)
    call('HDEL', prefix .. 'j:' .. job_id, 'd', 'h', 'i', 'q', 'x')
    return enqueued_ms
  end

  return { replace = replace, clear = clear, follow = follow }
end

local function make_unique()
  -- include record
  local RESENT_MS = 120000 -- nobody sends a call again after that

  local function merged_by(job_id, nonce)
    return prefix .. 'ub:' .. job_id .. (nonce == '' and '' or ' ' .. nonce)
  end

  local function take(lock, job_id, for_ms)
    if for_ms == '' then
      call('SET', lock, job_id)
    else
      call('SET', lock, job_id, 'PX', for_ms)
    end
  end

  -- Return what the call is told in place of a job, and the job that is there; or nil, the job that
  -- is written, and if it is not new when it was enqueued and whether it has been delivered before.
  local function claim(word, job_id, nonce)
    local conflict, for_ms, key = string.match(word, '^u:%a(%a):(%d*):(%S+)$')
    local lock, merged = prefix .. 'un:' .. key, merged_by(job_id, nonce)
    -- The job may have started since, so that the key is free: it has these arguments all the same.
    local known = conflict == 'b' and call('GET', merged)
    if known then return '0', known end
    local holder = call('GET', lock)
    local record = holder and read_record(holder) or {}
    local state = record[STATE]
    if not state or has_ended(state) then
      take(lock, job_id, for_ms)
      return nil, job_id
    end
    local waits = state == 'q' or state == 'd' or state == 'p'
    if conflict == 'r' or conflict == 'j' or not waits then
      return conflict == 'j' and 'r' or '0', holder
    end
    moves = moves or make_moves()
    if conflict == 'p' then
      take(lock, job_id, for_ms)
      moves.replace(holder, record, key)
      return nil, job_id
    end
    call('SET', merged, holder, 'PX', RESENT_MS)
    local has_run = call('HGET', prefix .. 'j:' .. holder, 'a')
    return nil, holder, moves.clear(holder, record), has_run
  end

  -- The word that a job keeps of it, in the field of those whom its end concerns.
  local function key_word(word)
    return (string.sub(word, 3, 3) == 's' and '?' or '!') .. string.match(word, '^u:%a%a:%d*:(.*)$')
  end

  return { claim = claim, key_word = key_word }
end
