-- Take the tokens from the doorbell of an empty queue: they would wake nobody for anything.  Maybe
-- nobody has heard of the next due time then, so that the next delayed job must ring again.
local function silence(queue)
  for _, lane in ipairs(call('SMEMBERS', prefix .. 'l')) do
    if queue_of(lane) == queue then return end
  end
  call('DEL', prefix .. 'b:' .. queue, prefix .. 'da:' .. queue)
end
