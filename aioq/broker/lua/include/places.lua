-- Where a gate is listed: a gate with jobs is in exactly one place, and one without in none.
local function places_of(gate)
  local places = {}
  local function look(key)
    if call('ZSCORE', prefix .. key, gate) then places[#places + 1] = key end
  end
  look('hr:' .. lane_of(gate))
  look('d')
  for word in limits_of(gate) do
    if is_slot(word) then look('sw:' .. word) end
  end
  return places
end

-- Whether a change of one of its limits would wake it.
local function is_told(gate)
  for word in limits_of(gate) do
    if call('SISMEMBER', prefix .. 'lg:' .. limit_name(word), gate) == 1 then return true end
  end
  return false
end

-- Put a job into its line, where it is not, without changing what is right already.
local function line_up(job_id, lane, gate, fair)
  queue_up(line_of(gate, fair), job_id)
  queue_up(prefix .. 'hl:' .. gate, fair)
  call('ZADD', prefix .. 'hp:' .. lane, 'NX', now_ms, job_id)
  if #places_of(gate) == 0 then open_gate(gate) end
end
