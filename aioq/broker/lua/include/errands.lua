-- Work that calls have left over: `o` tell one whom the end of a job concerns, `t` tell all in its
-- list, `s` begin the first jobs of a sealed plan, `x` end the jobs of a plan that was never sealed,
-- `k` let go of what was gathered in the middle of a workflow.
-- Needs `concern`.
local left_over, LARGE = {}, 8192

-- Note who has still to be told of an end.
local function leave(job_id, word, state, value)
  if word ~= '&' and #value <= LARGE then
    call('RPUSH', prefix .. 'gl', 'o ' .. job_id .. ' ' .. word .. ' ' .. state .. value)
    return
  end
  if word ~= '&' then call('RPUSH', prefix .. 'gd:' .. job_id, word) end
  if left_over[job_id] then return end
  left_over[job_id] = true
  call('PERSIST', prefix .. 'gd:' .. job_id)
  if call('EXISTS', prefix .. 'gv:' .. job_id) == 1 then
    -- It was replayed before all had heard of its end before: then this one is told to all of them.
    call('SET', prefix .. 'gv:' .. job_id, '+' .. state .. value)
  else
    call('SET', prefix .. 'gv:' .. job_id, state .. value)
    call('RPUSH', prefix .. 'gl', 't ' .. job_id .. ' 0')
  end
end

local ERRANDS = {}

-- Each returns how much of its list it has done, and whether that was all.
function ERRANDS.t(job_id, first, most)
  local told, key = prefix .. 'gd:' .. job_id, prefix .. 'gv:' .. job_id
  local words = call('LRANGE', told, first, first + most - 1)
  local again, state, value = string.match(call('GET', key) or '', '^(%+?)(%a)(.*)$')
  if not state then return 0, true end
  for n, word in ipairs(words) do
    pass_on(job_id, word, state, value)
    if left <= 0 then return n, false end
  end
  if #words == most then return most, false end
  if again == '+' then
    call('SET', key, state .. value)
    call('RPUSH', prefix .. 'gl', 't ' .. job_id .. ' 0')
    return #words, true
  end
  call('DEL', key)
  local record = call('HMGET', prefix .. 'j:' .. job_id, 's', 'w')
  if not string.find(record[2] or '', '&', 1, true) then
    call('UNLINK', told)
  elseif record[1] == 'f' then -- else it was replayed, and its next end concerns the same jobs
    call('PEXPIRE', told, DEAD_MS)
  end
  return #words, true
end

function ERRANDS.s(root, first, most)
  local jobs = call('LRANGE', prefix .. 'gs:' .. root, first, first + most - 1)
  for n, job_id in ipairs(jobs) do
    local record = read_waiting(job_id)
    if record.state == 'w' and record.needs == 0 then begin(record) end
    left = left - 2
    if left <= 0 then return n, false end
  end
  if #jobs == most then return most, false end
  call('UNLINK', prefix .. 'gs:' .. root)
  return #jobs, true
end

function ERRANDS.x(root, first, most)
  local jobs = call('LRANGE', prefix .. 'gm:' .. root, first, first + most - 1)
  for n, job_id in ipairs(jobs) do
    local record = read_waiting(job_id)
    if record.state == 'w' then
      call('UNLINK', prefix .. 'y:' .. job_id, prefix .. 'g:' .. job_id, prefix .. 'gd:' .. job_id)
      local words = string.gsub(' ' .. (record.waiters or ''), ' [><&=-]%S*', '') -- all end alike
      call('HDEL', prefix .. 'j:' .. job_id, 'w')
      finish(job_id, 'x', 'revoked', 120000, words, record.enqueued_ms)
      known[job_id] = nil
    end
    left = left - 2
    if left <= 0 then return n, false end
  end
  if #jobs == most then return most, false end
  call('UNLINK', prefix .. 'gm:' .. root, prefix .. 'gs:' .. root, prefix .. 'gk:' .. root)
  return #jobs, true
end

-- The workflow has ended, and nobody will read what was gathered in the middle of it; but a replay.
function ERRANDS.k(root, first, most)
  local gathers, ends = prefix .. 'gk:' .. root, call('HGET', prefix .. 'j:' .. root, 's') or 'x'
  if not string.find('cfx', ends, 1, true) then return 0, true end -- it was replayed since
  local jobs = call('LRANGE', gathers, first, first + most - 1)
  -- A group that is the result may have others in it, which are kept as long as it is.
  local kept_ms = ends == 'f' and DEAD_MS or ends == 'c' and call('PTTL', prefix .. 'g:' .. root) or 0
  for _, job_id in ipairs(jobs) do
    -- One that still waits sees to itself when it has all: the list expires, or is gone.
    if call('HGET', prefix .. 'j:' .. job_id, 's') == 'w' then
      left = left - 1
    elseif kept_ms > 0 then
      call('PEXPIRE', prefix .. 'g:' .. job_id, kept_ms)
    else
      call('UNLINK', prefix .. 'g:' .. job_id)
    end
  end
  left = left - #jobs
  if #jobs == most then return most, false end
  if kept_ms <= 0 then call('UNLINK', gathers) end
  return #jobs, true
end

-- Tell one of an end; not where the job was replayed since, for then its next end is told.
local function pass_on_late(job_id, word, state, value)
  local is_kept = state == 'f' and string.byte(word) == 62 -- >
  local now = is_kept and call('HGET', prefix .. 'j:' .. job_id, 's')
  if now and now ~= 'f' then
    left = left - 1
  else
    pass_on(job_id, word, state, value)
  end
end

local function run_errands()
  while left > 0 do
    local errand = call('LINDEX', prefix .. 'gl', 0)
    if not errand then return end
    local op, job_id, rest = string.match(errand, '^(%a) (%S+) (.*)$')
    if not job_id or op ~= 'o' and not ERRANDS[op] then -- none of ours
      call('LPOP', prefix .. 'gl')
    elseif op == 'o' then
      pass_on_late(job_id, string.match(rest, '^(%S+) (%a)(.*)$'))
      call('LPOP', prefix .. 'gl')
    else
      local done, is_all = ERRANDS[op](job_id, tonumber(rest), left)
      call('LPOP', prefix .. 'gl')
      if not is_all then call('LPUSH', prefix .. 'gl', op .. ' ' .. job_id .. ' ' .. rest + done) end
      left = left - 1
    end
  end
end
