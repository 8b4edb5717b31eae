-- Read limits: what they are, and what is left of them for one key each.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   limits     1 each   b:<name>:<key> or c:<name>:<key>
-- REPLY  now_us     int      the server's clock, in microseconds
--        limits     3 each   as declared ("" where it is not), as set at run time ("" where it is
--                            not), and the bucket as it is stored, or the slots that are taken

local call = redis.call
local prefix = KEYS[1]

-- include now

local limits = {}
for _, limit in ipairs(ARGV) do
  local kind, name, key = string.match(limit, '^(%a):([^:]*):(.*)$')
  local field, instance = kind .. ':' .. name, name .. ':' .. key
  limits[#limits + 1] = call('HGET', prefix .. 'lc', field) or ''
  limits[#limits + 1] = call('HGET', prefix .. 'lr', field) or ''
  if kind == 'b' then
    limits[#limits + 1] = call('GET', prefix .. 'tb:' .. instance) or ''
  else
    limits[#limits + 1] = call('SCARD', prefix .. 'sl:' .. limit)
  end
end
return { time[1] * 1000000 + time[2], limits }
