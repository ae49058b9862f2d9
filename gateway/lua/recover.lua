-- recover: open the room where there is none, and raise it to what a worker remembers.  Room.opened, Room.recover.
-- ARGV[1]  see room.lua (nothing counts as seen); then sign (sign.Sign, or nothing), margin,
--          given (flat: place, slot_s, ..), token_us of a room that is opened
-- returns  sign.Sign

local seen, margin, handed = given[6], given[7], given[8]
local is_lost = not load() or room.run_id ~= run_id
if not room then
  room = opened(given[9])
end
room.run_id = run_id
advance()

-- The fields of sign.Sign that count here.
local AT_US, CLOCK, GATE, HEAD, TAIL, PASSES, SIGNUPS, FORM_S, ACTS, PACE = 1, 2, 3, 4, 5, 16, 17, 18, 19, 20

local function raise()
  local newest = max(room.tail, seen and seen[TAIL] or 0)
  for at = 1, #handed, 2 do newest = max(newest, handed[at] + 1) end
  is_lost = is_lost and (seen or newest > 0)
  room.tail = (is_lost or newest > room.tail) and newest + margin or newest
  if not seen then return newest end
  room.head, room.gate = max(room.head, seen[HEAD]), max(room.gate, seen[GATE])
  room.passes, room.signups, room.form_s = max(room.passes, seen[PASSES]), max(room.signups, seen[SIGNUPS]), max(room.form_s, seen[FORM_S])
  return newest
end

-- Room._gave
local function gave(place, slot_s)
  room.passes = room.passes + 1 - mark(THROUGH, place)
  set_slot(place, slot_s)
  redis.call('ZREM', BOOKED, place)
end

-- DoorClock.turn_at(sign.at_us) of the sign's own clock
local function sign_turn()
  local turn, at_us, token_us, is_paused = unpack(seen[CLOCK])
  if is_paused then return turn end
  local span = max(seen[AT_US] - at_us, 0)
  local rest_us = fmod(span, token_us)
  return turn + (span - rest_us) / token_us * PERSON + div(rest_us * PERSON, token_us)
end

-- Room._set_door
local function set_door()
  local turn, is_paused = turn_now(), room.is_paused
  local turn_seen = 0
  if seen then
    turn_seen = sign_turn()
    if seen[PACE][4] >= room.pace[4] then
      room.pace, room.token_us = seen[PACE], seen[CLOCK][3]
    end
    if seen[ACTS][1] >= room.acts[1] then
      room.acts, is_paused = filled(seen[ACTS]), seen[CLOCK][4]
    end
  end
  if is_lost or turn_seen > turn then
    turn = max(turn, turn_seen)
    room.tat_turn = max(room.tat_turn, turn + ahead_turns_max())
  end
  room.turn, room.at_us, room.is_paused = turn, now_us, is_paused
end

-- Room._suppose_all_there
local function suppose_all_there(newest)
  mark_all(FAR[room.far_at], room.head, newest)
  room.counted_us, room.counted_tail, room.counted_passes, room.counted_gate, room.there = now_us, room.tail, room.passes, room.gate, 0
  room.watched_s, room.gate_per_s = 0, 0
  count_people()
  room.left = 0
end

local newest = raise()
for at = 1, #handed, 2 do gave(handed[at], handed[at + 1]) end
set_door()
if is_lost then suppose_all_there(newest) end
union(LIVE, NEAR)
local answer = sign(owed_people())
save()
return cmsgpack.pack(answer)
