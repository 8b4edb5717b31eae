-- Try every command and every script on a scratch job, in a namespace where nothing else is.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   count      int      number of trials
--        trials     1 each   a command; the first one clears the namespace
--        steps      1 each   of each: a script, how many arguments it gets, the arguments
-- REPLY  full       int      1: the server is at its maxmemory
--        denied     2 each   trials that failed: index, error
--        replies    list     of the steps
--        failure    text     the error of the step at which it ended; '' where it did not
--
-- A word of a trial that begins with !: is a key of the namespace; an argument @ of a step is the
-- entry id of the scratch job.  Where the namespace cannot be cleared nothing is tried, and all is
-- one script: so nothing is left, even of a worker that is killed in the middle.

local call = redis.call
local prefix = KEYS[1]
local count = tonumber(ARGV[1])
local FIRST_TRIAL = 2

local scratch = prefix .. '!:'
local scripts = {}

-- every script

local function try(index)
  local words = {}
  for word in string.gmatch(ARGV[FIRST_TRIAL + index], '%S+') do
    words[#words + 1] = string.sub(word, 1, 2) == '!:' and prefix .. word or word
  end
  local reply = redis.pcall(unpack(words))
  return type(reply) == 'table' and reply.err
end

-- Refused by a full server before it is seen that no key lives 0 ms, so it writes nothing.
local probe = redis.pcall('SET', scratch .. 'v:a', '', 'PX', 0)
local is_full = string.find(probe.err or '', 'OOM', 1, true) and 1 or 0

local denied = {}
for index = 0, count - 1 do
  local failure = try(index)
  if failure then
    denied[#denied + 1], denied[#denied + 2] = index, failure
    if index == 0 then break end
  end
end

local replies, failure = {}, ''
local at = FIRST_TRIAL + count
while at < #ARGV and #denied == 0 do
  local size, arguments = tonumber(ARGV[at + 1]), {}
  for n = 1, size do
    local argument = ARGV[at + 1 + n]
    arguments[n] = argument == '@' and (call('HGET', scratch .. 'j:a', 'i') or '') or argument
  end
  local passed, reply = pcall(scripts[ARGV[at]], { scratch }, arguments)
  local is_table = type(reply) == 'table'
  if not passed or is_table and reply.err then
    failure = is_table and reply.err or tostring(reply)
    break
  end
  replies[#replies + 1] = reply
  at = at + 2 + size
end

try(0)
return { is_full, denied, replies, failure }
