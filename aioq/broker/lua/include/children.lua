-- Add the children of a durable job that go on to a list, as long as that stays short; those of whom
-- it does not are listed under gm:<root>, as the jobs of a workflow are.  Return whether there are any.
local MOST = 500

local function add_children(job_id, jobs, root)
  local memo, has_more = call('HGETALL', prefix .. 'dm:' .. job_id), false
  for n = 2, #memo, 2 do
    local child = string.match(memo[n], '^[pP]%x+ (%S+)$')
    if child and string.find(memo[n - 1], '^child ') then
      if #jobs < MOST then
        jobs[#jobs + 1] = child
      else
        local is_first = call('RPUSH', prefix .. 'gm:' .. root, child) == 1
        if is_first then call('PEXPIRE', prefix .. 'gm:' .. root, 120000) end
        has_more = true
      end
    end
  end
  return has_more
end
