-- Add the children of a durable job that go on to a list, as long as that stays short.
local MOST = 500

local function add_children(job_id, jobs)
  local memo = call('HGETALL', prefix .. 'dm:' .. job_id)
  for n = 2, #memo, 2 do
    local child = string.match(memo[n], '^[pP]%x+ (%S+)$')
    if child and string.find(memo[n - 1], '^child ') and #jobs < MOST then jobs[#jobs + 1] = child end
  end
end
