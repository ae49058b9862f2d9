-- tick: note who was seen, call people, and write the sign.  Room.tick.
-- ARGV[1]  see room.lua; then near, far, given (flat: place, turn, ..), signups, form_s
-- returns  sign.Sign

if not enter() then return behind() end

-- A window without anybody, as long as the others, and `through` with them: BITOP goes byte by byte where one of its
-- strings has ended (350 us instead of 40 with a million in line), and one that grows is given twice what it needs.
local function empty(bitmap)
  redis.call('DEL', bitmap)
  redis.call('SETBIT', bitmap, room.tail, 0) -- a place nobody has
  redis.call('SETBIT', THROUGH, room.tail, 0)
end

-- At most once a tick: a gap in the ticks ages nobody.  Whether somebody may have left the line by it.
local function rotate()
  if now_us - room.near_since_us >= policy.near_us then
    room.near_at, room.near_since_us = 1 - room.near_at, now_us
    empty(NEAR[room.near_at])
  end
  if now_us - room.far_since_us >= far_us() then
    room.far_at, room.far_since_us = fmod(room.far_at + 1, 3), now_us
    empty(FAR[room.far_at])
    return true
  end
  return false
end

local function note(near, far, handed)
  for _, place in ipairs(near) do see(place, true) end
  for _, place in ipairs(far) do see(place, false) end
  for at = 1, #handed, 2 do
    if tonumber(redis.call('ZSCORE', BOOKED, handed[at])) == handed[at + 1] then redis.call('ZREM', BOOKED, handed[at]) end
  end
end

-- Whom a worker had booked that died.
local function forget_booked()
  local over = turn_now() - turns_in(PASS_S * 1000000)
  for _, place in ipairs(redis.call('ZRANGEBYSCORE', BOOKED, '-inf', format('(%.0f', over))) do
    redis.call('ZREM', BOOKED, place)
    set_slot(tonumber(place), 0)
  end
end

-- Move head on until the lobby is full, and put the gate.
local function call(booked)
  local size = lobby_size()
  local want = max(0, size - booked)
  local called = count(LIVE, 0, room.head)
  if called < want then
    local last = kth(LIVE, want, 0, room.tail)
    room.head = last < 0 and room.tail or last + 1
    called = count(LIVE, 0, room.head)
  end
  room.gate = room.head
  if booked > 0 and called > div(size * policy.crowd_percent, 100) then
    room.gate = kth(LIVE, max(1, size - booked), 0, room.head) + 1
  end
end

local has_turned = rotate()
room.signups, room.form_s = room.signups + given[9], room.form_s + given[10]
note(given[6], given[7], given[8])
forget_booked()
if has_turned or now_us - room.counted_us >= 1000000 then count_people() end
union(LIVE, NEAR)
local booked = owed_people()
if not room.is_paused then call(booked) end
local answer = sign(booked)
save()
return cmsgpack.pack(answer)
