-- The server's clock: the only one that decides anything shared.
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
