-- The lane of a job: most are in this one, and their records leave it out.
local COMMON_LANE = 'default:5'

local function queue_of(lane)
  return string.match(lane, '^(.*):')
end

-- Where a job waits: one that has crashed twice is a suspect, and a queue's suspects have a lane of
-- their own, from which a worker runs one at a time.
local function wait_of(lane, crashes)
  lane = lane or COMMON_LANE
  if crashes and tonumber(crashes) >= 2 then return queue_of(lane) .. ':z' end
  return lane
end

-- Where the entry of its delivery is: a job that is held by limits waits outside of every stream,
-- and has its entry in one where nothing ever waits.
local function place_of(lane, crashes, holds)
  local place = wait_of(lane, crashes)
  return holds and place .. 'h' or place
end
