-- Create a job that waits for others, or for the seal of its plan.  Needs `make`.
local INLINE_WORDS = 16

local function list_words(job_id, words)
  local all = {}
  for word in string.gmatch(words, '%S+') do
    all[#all + 1] = word
    if #all == 500 then
      call('RPUSH', prefix .. 'gd:' .. job_id, unpack(all))
      all = {}
    end
  end
  if #all > 0 then call('RPUSH', prefix .. 'gd:' .. job_id, unpack(all)) end
end

-- Note whom the end of a job concerns; where there are many, in a list of its own.
local function concerns(job_id, words, root)
  local count = select(2, string.gsub(words, '%S+', ''))
  if count > INLINE_WORDS then
    list_words(job_id, words)
    words = '&'
  end
  if job_id == root then words = words == '' and '=' or words .. ' =' end
  if words ~= '' then call('HSET', prefix .. 'j:' .. job_id, 'w', words) end
end

local function or_dash(text)
  return text == '' and '-' or text
end

local function enlist(node, root)
  local key = prefix .. 'j:' .. node.job_id
  local is_gather = string.lower(node.kind) == 'g'
  -- A gather has no due time, and tells here whose part it is.
  if is_gather and node.job_id ~= root then node.due = root end
  note_event('q', node.job_id)
  if lane_text ~= node.lane then read_lane(node.lane) end
  call('HSET', key, 's', 'w', 't', node.task, 'n', now_ms, 'j', node.needs, 'z',
    node.kind .. ' ' .. node.keep_ms .. ' ' .. or_dash(node.due) .. ' ' .. or_dash(node.expires))
  if lane ~= COMMON_LANE then call('HSET', key, 'q', lane) end
  if holds then call('HSET', key, 'h', holds) end
  if node.nonce ~= '' then call('HSET', key, 'u', node.nonce) end
  if is_gather then -- its payload is the shape of what it gathers
    call('HSET', prefix .. 'g:' .. node.job_id, 's', node.payload)
    call('SET', prefix .. 'y:' .. node.job_id, '')
    if node.job_id ~= root then call('RPUSH', prefix .. 'gk:' .. root, node.job_id) end
  else
    call('SET', prefix .. 'y:' .. node.job_id, node.payload)
  end
end
