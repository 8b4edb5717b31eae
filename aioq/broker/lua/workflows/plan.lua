-- Create the jobs of a workflow: those that wait for nothing are queued, the others wait for them.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   root       text     the job whose end is that of the workflow
--        mode       text     w the whole plan, in one call; f the first part of a large one, p another
--        keep_ms    int      how long what a group has gathered is kept
--        count      int      number of nodes
--        nodes     10 each   job_id, lane, task, due, expires, nonce, payload, needs, tells, kind
-- REPLY  made       int      1 they are there; 0 a job of the root's id was there before, or this
--                            part comes too late
--
-- needs  how many others it waits for         tells  words, see `follow`
-- kind   j a job; c one that takes errors of others for results; e one that runs on an error;
--        g gathers results, G also errors: it never runs
--        w more words of a job before it that has very many; all else is empty
--
-- Nothing of a large plan begins before it is sealed, and a plan that is not sealed a minute after its
-- last part is given up.  Sent again, a call makes nothing twice (G5).

local call = redis.call
local prefix = KEYS[1]
local root, mode, keep_ms, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local FIRST, STRIDE = 5, 10
local PATIENCE_MS = 60000

-- include now
-- include lane
-- include moment
-- include ring
-- include event
-- include delay
-- include park
-- include make
-- include enlist

local function node_at(index)
  local at = FIRST + index * STRIDE
  local node = { job_id = ARGV[at], lane = ARGV[at + 1], task = ARGV[at + 2], due = ARGV[at + 3] }
  node.expires, node.nonce, node.payload = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  node.needs, node.tells, node.kind = tonumber(ARGV[at + 7]), ARGV[at + 8], ARGV[at + 9]
  node.keep_ms = keep_ms
  return node
end

-- Whether the root was made already, and whether by an earlier attempt of this call.
local function known()
  local maker = call('HMGET', prefix .. 'j:' .. root, 's', 'u')
  if not maker[1] then return nil end
  for index = 0, count - 1 do
    local node = node_at(index)
    if node.job_id == root then return (node.nonce == '' or maker[2] == node.nonce) and 1 or 0 end
  end
  return 0
end

local function make_node(node)
  if mode == 'w' and node.needs == 0 and node.kind == 'j' then
    make(node.job_id, node.lane, node.task, moment(node.due), moment(node.expires), node.nonce,
      node.payload)
  else
    enlist(node, root)
    if node.needs == 0 then call('RPUSH', prefix .. 'gs:' .. root, node.job_id) end
  end
  concerns(node.job_id, node.tells, root)
end

if mode == 'w' then
  local before = known()
  if before then return before end
elseif mode == 'p' and not call('ZSCORE', prefix .. 'go', root) then
  return 0
elseif mode == 'f' and call('EXISTS', prefix .. 'gm:' .. root, prefix .. 'j:' .. root) > 0 then
  -- Another caller's parts would not fit to those of this one.
  return known() == 1 and call('ZSCORE', prefix .. 'go', root) and 1 or 0
end
if mode ~= 'w' then
  call('ZADD', prefix .. 'go', now_ms + PATIENCE_MS, root)
end
local jobs = {}
for index = 0, count - 1 do
  local node = node_at(index)
  if node.kind == 'w' then
    if call('HGET', prefix .. 'j:' .. node.job_id, 's') == 'w' then
      list_words(node.job_id, node.tells)
    end
  elseif call('EXISTS', prefix .. 'j:' .. node.job_id) == 0 then
    make_node(node)
    jobs[#jobs + 1] = node.job_id
  end
end
if #jobs > 0 then call('RPUSH', prefix .. 'gm:' .. root, unpack(jobs)) end
ring_made()
write_events()
return 1
