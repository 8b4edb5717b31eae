-- The queues of which nothing is handed out.
local is_paused = {}
for _, queue in ipairs(call('SMEMBERS', prefix .. 'qp')) do is_paused[queue] = true end
