-- owners: whose each pass is, the first applicant's who was named with it.  No part of the line, so it is never behind.
-- ARGV[1]  see room.lua; then {holder, signup_id} of each claim
-- returns  for each the signup_id that owns it

local owners = {}
for i, claim in ipairs(given[6]) do
  local key = prefix .. 'owner:' .. claim[1]
  owners[i] = redis.call('SET', key, claim[2], 'NX', 'GET', 'EX', PASS_S) or claim[2]
end
return cmsgpack.pack(owners)
