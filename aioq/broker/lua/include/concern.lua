-- What a word of an ended job asks for.  Needs `begin` and `tell`.

-- Whether it concerns other jobs of its workflow, of which there may be many.
local function is_of_others(word)
  local first = string.byte(word)
  return first == 62 or first == 60 or first == 38 -- > < &
end

-- A dead letter may be replayed, and then its end concerns the same jobs and keys again.
local function keep_word(job_id, word)
  if not string.find(word, '^[>&=^%%-]') then return end
  local key = prefix .. 'j:' .. job_id
  local words = call('HGET', key, 'w')
  if words and string.find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) then return end
  call('HSET', key, 'w', words and words .. ' ' .. word or word)
end

-- include unlock

local function concern(job_id, word, state, value, keep_ms)
  local first, rest = string.sub(word, 1, 1), string.sub(word, 2)
  local stays_ms = math.max(keep_ms, 120000)
  if first == '-' and state == 'f' then
    call('PEXPIRE', prefix .. 'g:' .. job_id, DEAD_MS)
  elseif first == '-' then
    call('UNLINK', prefix .. 'g:' .. job_id)
  elseif first == '~' then
    call('PEXPIRE', prefix .. 'si:' .. job_id, stays_ms)
  elseif first == '=' then
    call('PEXPIRE', prefix .. 'gm:' .. job_id, stays_ms)
    if call('PEXPIRE', prefix .. 'gk:' .. job_id, stays_ms) == 1 then
      call('RPUSH', prefix .. 'gl', 'k ' .. job_id .. ' 0')
    end
  elseif first == '!' or first == '?' then
    release_unique(job_id, rest)
  elseif first == '%' then
    -- include memo_end
    forget_memo(job_id, state)
  elseif first == '^' then
    -- include parent
    local parent, name = string.match(rest, '^(.*):(%d+)$')
    tell_parent(parent, name, state, value)
  end
end

-- Tell another job of a workflow.
local function pass_on(job_id, word, state, value)
  left = left - 1 - math.floor(#value / 16384)
  local other, index = string.match(word, '^>(.*):(%d+)$')
  if other then return tell(other, index, job_id, state, value) end
  other = string.sub(word, 2)
  if state == 'f' or state == 'x' and value == 'expired' then
    tell(other, 0, job_id, state, value)
  else
    spare(other)
  end
end
