-- The lane of a job: most are in this one, and their records leave it out.
local COMMON_LANE = 'default:5'
