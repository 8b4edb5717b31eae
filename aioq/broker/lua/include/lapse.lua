-- Take a parked job that has expired out of its line, in which it may stand far behind.
local function lapse(job_id, lane, holds)
  local gate = unpark(job_id, lane, holds)
  if gate then yield(gate) end
end
