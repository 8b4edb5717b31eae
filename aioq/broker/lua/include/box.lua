-- Events that are kept: a list of nonce and what is known of each, the oldest first.
local KEPT = 100

local function read_box(packed)
  return packed and cmsgpack.unpack(packed) or {}
end

-- Whether a call with this nonce has been here; its place.
local function find_in(box, nonce)
  for n, each in ipairs(box) do
    if each[1] == nonce then return n end
  end
end
