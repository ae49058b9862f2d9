-- door: through, and when; or not.  Room.door.
-- ARGV[1]  see room.lua; then places
-- returns  for each {why, turn, slot_s}    why nothing: a slot; else a sign.Reason, and `turn` is free_in_us

if not enter() then return behind() end

-- Room._knock
local function knock(place)
  see(place, true)
  if place < 0 or place >= room.head then return {'not-called', 0, 0} end
  local turn, slot_s = again(place)
  if turn then return {cjson.null, turn, slot_s} end
  if room.is_paused then return {'paused', 5000000, 0} end
  turn, slot_s = book(place)
  if turn then return {cjson.null, turn, slot_s} end
  return {'busy', slot_s, 0}
end

local answers = {}
for i, place in ipairs(given[6]) do answers[i] = knock(place) end
save()
return cmsgpack.pack(answers)
