-- The lines behind a gate take turns, one job each.

-- The first jobs of the lines whose turn it is, and one more of each, which tells that it goes on.
local function lines_in_turn(gate, most)
  local keys = call('ZRANGE', prefix .. 'hl:' .. gate, 0, most - 1)
  local lines, rounds = {}, math.ceil(most / math.max(#keys, 1))
  for n, fair in ipairs(keys) do
    local line = line_of(gate, fair)
    lines[n] = { key = line, fair = fair, jobs = call('ZRANGE', line, 0, rounds), gone = 0, turn = 0 }
  end
  return lines, rounds
end

-- Take the jobs that have gone out of their lines; a key that was served has its next turn after all
-- others, also those whose lines were not read.
local function leave_lines(gate, lane, lines, gone)
  if #gone == 0 then return end
  local turns, served = prefix .. 'hl:' .. gate, {}
  call('ZREM', prefix .. 'hp:' .. lane, unpack(gone))
  for _, line in ipairs(lines) do
    if line.gone > 0 then call('ZREM', line.key, unpack(line.jobs, 1, line.gone)) end
    if line.gone == #line.jobs then
      call('ZREM', turns, line.fair)
    elseif line.gone > 0 and (#lines > 1 or call('ZCARD', turns) > 1) then
      served[#served + 1] = line
    end
  end
  table.sort(served, function(one, other) return one.turn < other.turn end)
  local last = #served > 0 and tonumber(call('ZREVRANGE', turns, 0, 0, 'WITHSCORES')[2])
  for n, line in ipairs(served) do call('ZADD', turns, last + n, line.fair) end
end
