-- Wake idle workers of a queue: one token each, never more than 16 lying around.
local function ring(queue, jobs)
  local bell = prefix .. 'b:' .. queue
  local wanted = math.min(jobs, 16 - call('LLEN', bell))
  if wanted == 1 then
    call('RPUSH', bell, '')
  elseif wanted > 1 then
    local tokens = {}
    for n = 1, wanted do tokens[n] = '' end
    call('RPUSH', bell, unpack(tokens))
  end
end

-- The same in the end, once for all that this call brings; what is ready in a paused queue wakes
-- nobody.
local rings, alarms = {}, {}

local function ring_later(queue, jobs)
  rings[queue] = (rings[queue] or 0) + jobs
end

local function ring_all()
  for queue, jobs in pairs(rings) do
    local is_paused = jobs > 0 and call('SISMEMBER', prefix .. 'qp', queue) == 1
    ring(queue, (is_paused and 0 or jobs) + (alarms[queue] or 0))
  end
end
