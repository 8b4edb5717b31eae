-- What is wrong with the lines of parked jobs.
local function record_of(job_id)
  if call('TYPE', prefix .. 'j:' .. job_id).ok ~= 'hash' then return {} end
  return read_record(job_id)
end

local function unlist(name, member)
  return function()
    call('ZREM', prefix .. name, member)
    return 'removed'
  end
end

-- Each is told the rest of the key's name, and a member that is there.
local CHECKS = {}

function CHECKS.hp(lane, job_id)
  local record = record_of(job_id)
  if record[STATE] == 'p' and wait_of(record[LANE], record[CRASHES]) == lane then return end
  found('parked-stale', job_id, lane, unlist('hp:' .. lane, job_id))
end

local function end_turns(gate, fair)
  call('ZREM', prefix .. 'hl:' .. gate, fair)
  if call('EXISTS', prefix .. 'hl:' .. gate) == 0 then shut_gate(gate) end
  return 'removed'
end

function CHECKS.hq(line, job_id)
  local gate, fair = string.match(line, '^(.*) (%S*)$')
  local record = record_of(job_id)
  if record[STATE] == 'p' then
    local own, key = gate_of(wait_of(record[LANE], record[CRASHES]), record[HOLDS] or '')
    if own == gate and key == fair then return end
  end
  found('line-stale', job_id, line, function()
    call('ZREM', prefix .. 'hq:' .. line, job_id)
    return call('EXISTS', prefix .. 'hq:' .. line) == 1 and 'removed' or end_turns(gate, fair)
  end)
end

function CHECKS.hl(gate, fair)
  if call('EXISTS', line_of(gate, fair)) == 1 then return end
  found('turn-stale', gate, fair, function() return end_turns(gate, fair) end)
end
