-- What only jobs with holds need.  It is made for the first of them, for each function that is made
-- takes its time.
local held

local function make_held()
  -- include park
  -- include slots
  return { park = park, release = release }
end

local function park(job_id, lane, holds, payload)
  held = held or make_held()
  held.park(job_id, lane, holds, payload)
end

local function release(job_id, holds)
  if not holds then return end
  held = held or make_held()
  held.release(job_id, holds)
end
