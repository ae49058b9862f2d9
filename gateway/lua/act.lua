-- act: what the operator says, unless something newer was said.  Room.act.
-- ARGV[1]  see room.lua; then acts (sign.Acts)
-- returns  whether it is so

if not enter() then return behind() end

local acts = filled(given[6])
local is_so = acts[1] > room.acts[1]
if is_so then
  room.acts = acts
  local is_shut = acts[2] or acts[5] or false
  if is_shut or room.is_paused then anchor(room.token_us, is_shut) end
end
save()
return cmsgpack.pack(is_so)
