-- Tell how far a workflow has come.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   root       text     the job whose end is that of the workflow
-- REPLY  state      text     the letter of its state; '' nobody knows it
--        gathered   int      results it has got so far, with the shape of a gather among them
--        needs      int      how many it waits for; 0 it is no gather, and waits for nothing
--        jobs       int      jobs of the workflow

local call = redis.call
local prefix, root = KEYS[1], ARGV[1]

local record = call('HMGET', prefix .. 'j:' .. root, 's', 'j')
local gathered, jobs = call('HLEN', prefix .. 'g:' .. root), call('LLEN', prefix .. 'gm:' .. root)
return { record[1] or '', gathered, tonumber(record[2] or 0), jobs }
