-- fleet: how this machine is, and how the others are.
-- KEYS[1]  hash: machine → "<when, ms of this server's clock> <its summary>"
-- ARGV     machine, its summary, kept_ms, machines_max
-- returns  {age_ms, summary, ...} of the other machines, none of them older than kept_ms; this one's is kept while there is room

local time = redis.call('TIME')
local now_ms, kept_ms = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[3])
local others = {}
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local said_ms, summary = all[at + 1]:match('^(%d+) (.*)$')
  local age_ms = now_ms - (tonumber(said_ms) or 0)
  if age_ms > kept_ms or age_ms < 0 then -- younger than now: the clock stepped back; who lives says it again
    redis.call('HDEL', KEYS[1], all[at])
  elseif all[at] ~= ARGV[1] then
    others[#others + 1], others[#others + 2] = age_ms, summary
  end
end
if #others < 2 * ARGV[4] then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now_ms) .. ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], kept_ms)
return others
