-- Check that what belongs to a job of a workflow expires if the job has ended, and else does not.
local function check_owned(name)
  local owner = string.match(name, '^g%a?:(.*)$')
  if call('EXISTS', prefix .. 'gl') == 1 or call('ZSCORE', prefix .. 'go', owner) then
    return -- those who are left over may be told of an end by it
  end
  local record = prefix .. 'j:' .. owner
  local state = call('TYPE', record).ok == 'hash' and call('HGET', record, 's')
  local lives = state and state ~= 'c' and state ~= 'f' and state ~= 'x'
  local plan = state == 'c' and call('HGET', record, 'z')
  local root = plan and string.match(plan, '^[gG] %d+ (%S+)')
  if root and call('EXISTS', prefix .. 'gk:' .. root) == 1 then return end -- needed in its middle
  check_expiry(name, not lives or string.sub(name, 1, 3) == 'gx:')
end
