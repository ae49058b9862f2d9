-- pace: a rate and its reason from now on, unless somebody else set one since.  Room.set_pace.
-- ARGV[1]  see room.lua; then pace (pace.Pace), its token_us, changed_us of the one it replaces
-- returns  whether it is so

if not enter() then return behind() end

local is_so = room.pace[4] == given[8]
if is_so then
  room.pace = given[6]
  anchor(given[7], room.is_paused)
end
save()
return cmsgpack.pack(is_so)
