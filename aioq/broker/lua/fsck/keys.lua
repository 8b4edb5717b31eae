-- Check keys by themselves: known, of their type, expiring where they must, and wanted by somebody.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   repair     0 or 1   1: mend what is found
--        keys       3 each   name, type, expiry
-- REPLY  findings   4 each   code, name, detail, what was done: '' nothing
--
-- name   after the prefix
-- type   '' no key of this name is known
-- expiry 1 it must expire; 0 it must not

local call = redis.call
local prefix = KEYS[1]
local repair = ARGV[1] == '1'
local FIRST, STRIDE = 2, 3
local KEEP_MS = 600000

-- include found
-- include mend
-- include agenda

if repair then call('DEL', prefix .. '~') end -- a write that a full server allows

local function has_lease(worker)
  return call('ZSCORE', prefix .. 'lw', worker)
end

local function check_expiry(name, must_expire)
  local left_ms = call('PTTL', prefix .. name)
  if must_expire and left_ms == -1 then
    found('key-forever', name, '', expire(prefix .. name, KEEP_MS))
  elseif not must_expire and left_ms >= 0 then
    found('key-expires', name, '', persist(prefix .. name))
  end
end

local function is_idle()
  return call('EXISTS', prefix .. 'l', prefix .. 'd', prefix .. 'lw') == 0
end

local function check_bell(name)
  local tokens = call('LLEN', prefix .. name)
  if is_idle() then
    found('bell-left', name, '', drop(prefix .. name))
  elseif tokens > 16 then
    found('bell-full', name, tokens, function()
      call('LTRIM', prefix .. name, 0, 15)
      return 'trimmed'
    end)
  end
end

-- A unique key of no job keeps all others of its kind from being made.
local function check_lock(name)
  local holder = call('GET', prefix .. name)
  local is_hash = call('TYPE', prefix .. 'j:' .. holder).ok == 'hash'
  local record = is_hash and call('HMGET', prefix .. 'j:' .. holder, 's', 'w') or {}
  local words = ' ' .. (record[2] or '') .. ' '
  local has_ended = record[1] == 'c' or record[1] == 'f' or record[1] == 'x'
  for _, kind in ipairs({ '!', '?' }) do
    local word = ' ' .. kind .. string.sub(name, 4) .. ' '
    if not has_ended and string.find(words, word, 1, true) then return end
  end
  found('lock-left', name, holder, drop(prefix .. name))
end

-- While a job lives, what it streams does not expire; a replayed one's may, until it runs.
local function check_items(name)
  local record = prefix .. 'j:' .. string.sub(name, 4)
  local state = call('TYPE', record).ok == 'hash' and call('HGET', record, 's')
  local lives = state and state ~= 'c' and state ~= 'f' and state ~= 'x'
  if not lives then check_expiry(name, true) end
end

-- include recall
-- include owned

local function check_epochs(name)
  for _, worker in ipairs(call('HKEYS', prefix .. name)) do
    if not has_lease(worker) then
      found('epoch-left', worker, '', function()
        call('HDEL', prefix .. name, worker)
        return 'removed'
      end)
    end
  end
end

for at = FIRST, #ARGV, STRIDE do
  local name, expected, must_expire = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1'
  local kind = call('TYPE', prefix .. name).ok
  if kind == 'none' then
    -- It is gone by now.
  elseif expected == '' then
    found('key-unknown', name, kind)
  elseif kind ~= expected then
    found('key-type', name, kind .. ', not ' .. expected)
  elseif string.sub(name, 1, 3) == 'un:' then
    check_lock(name)
  elseif string.sub(name, 1, 3) == 'si:' then
    check_items(name)
  elseif string.find(name, '^g[dkmsvx]?:') then
    check_owned(name)
  elseif string.find(name, '^d[mr]:') then
    check_memo(name)
  elseif string.sub(name, 1, 3) == 'dw:' then
    check_waits(name)
  else
    check_expiry(name, must_expire)
    if string.sub(name, 1, 2) == 'b:' then
      check_bell(name)
    elseif name == 'e' then
      check_epochs(name)
    elseif string.sub(name, 1, 3) == 'cx:' and not has_lease(string.sub(name, 4)) then
      found('revokes-left', name, '', drop(prefix .. name))
    else
      check_agenda(name)
    end
  end
end
return findings
