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
