-- join: a place for each, and on a quiet day the way through at once.  Room.join.
-- ARGV[1]  see room.lua; then owed: so many, the first of them, have a provisional ticket
-- ARGV[2]  the join ids, 8 bytes each, one after the other
-- returns  for each {place, is_new, turn, slot_s}    place -1: the line is full, -2: the room is closed; slot_s 0: not through

if not enter() then return behind() end

-- Looking them up costs most: a new id takes its place with one command, and new places are marked together.
local function place_of(id, is_owed)
  local joined = name('joined', id:byte(1) * 64 + floor(id:byte(2) / 4))
  if room.acts[5] and not is_owed then return tonumber(redis.call('HGET', joined, id)) or -2, false end
  if room.tail - room.head >= policy.line_max then return tonumber(redis.call('HGET', joined, id)) or -1, false end
  if redis.call('HSETNX', joined, id, room.tail) == 1 then return room.tail, true end
  return tonumber(redis.call('HGET', joined, id)), false
end

local waiting = 0
if room.head >= room.tail then -- else nobody new goes through at once
  union(LIVE, NEAR)
  waiting = count(LIVE, 0, room.head)
end

-- Room._at_once
local function at_once(place)
  if room.head < place or 2 * waiting > lobby_size() or room.is_paused then return nil end
  local turn, slot_s = book(place)
  if turn then room.head = place + 1 end
  return turn, slot_s
end

local answers, tail = {}, room.tail
for at = 1, #ARGV[2], 8 do
  local place, is_new = place_of(ARGV[2]:sub(at, at + 7), at <= 8 * given[6])
  local turn, slot_s
  if is_new then
    room.tail = place + 1
    turn, slot_s = at_once(place)
  elseif place >= 0 then
    see(place, place >= room.gate)
    turn, slot_s = again(place)
  end
  answers[#answers + 1] = {place, is_new, turn or 0, turn and slot_s or 0}
end
mark_all(NEAR[room.near_at], tail, room.tail)
mark_all(FAR[room.far_at], tail, room.tail)

save()
return cmsgpack.pack(answers)
