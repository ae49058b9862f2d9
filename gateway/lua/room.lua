-- room: what the scripts of a waiting room have in common; it stands before each of them.
-- The law is core/waiting.py, with turn.py and bits.py; tests/contracts/test_room_store.py holds them equal.
--
-- KEYS[1]  the state; all other keys are named after it, under one hash tag:
--
--   {sluicegate:room:<name>:<epoch>}:state       msgpack, the fields of `opened` below; no state, no room
--                                   :ahead       msgpack, Counts.ahead: only a tick needs it
--                                   :near:0..1   bitmap, the windows of NEAR; state.near_at is the present one
--                                   :far:0..2    bitmap, the windows of FAR; likewise
--                                   :through     bitmap
--                                   :live :there    made and deleted within a call
--                                   :slots:<n>   slot_s of places 1024n.., 4 bytes each, 0 = none; expires 15 min after its last
--                                   :booked      sorted set, place → turn
--                                   :joined:<n>  hash, join id → place; n: the first 14 bits of the id
--                                   :owner:<holder>    whose pass it is; expires with the pass
--
-- ARGV[1]  msgpack {now_us, policy, run_id, seen_tail, seen_head, what each script says}
--            now_us   0 = this server's clock; tests pass one
--            policy   sign.Policy, by position
--            run_id   of this server, as the connection's other end introduced itself
-- returns  what each script says, as msgpack; or the error BEHIND, and then nothing was done
--
-- Numbers are integers below 2^53 and a few doubles; they go to redis.call as they are or through `name`, for `..` and
-- tostring() keep 14 digits.  What expires does so by the server's clock, whatever now_us is: later than the law asks.

local PERSON, PASS_S, STEP_US_MAX = 10000, 600, 1000000
local SLOTS_IN_KEY, SLOTS_KEPT_S = 1024, 900
local fmod, floor, max, min, format = math.fmod, math.floor, math.max, math.min, string.format

local given = cmsgpack.unpack(ARGV[1])
local now_us, run_id = given[1], given[3]
if now_us == 0 then
  local time = redis.call('TIME') -- once: before Redis 7.2 it moves while a script runs
  now_us = time[1] * 1000000 + time[2]
end
local policy = {}
for i, field in ipairs({'lobby_us', 'hold_us', 'hold_slow_us_max', 'burst_us', 'near_us', 'far_us', 'crowd_percent', 'line_max',
                        'poll_budget_per_s', 'poll_s_max'}) do
  policy[field] = given[2][i]
end
local prefix = KEYS[1]:sub(1, -6) -- without "state"
local room -- the state
local touched = {} -- chunks of slots that were written

local function name(kind, number) return prefix .. kind .. ':' .. format('%.0f', number) end

local THROUGH, BOOKED, LIVE, THERE = prefix .. 'through', prefix .. 'booked', prefix .. 'live', prefix .. 'there'
local NEAR = {[0] = name('near', 0), name('near', 1)}
local FAR = {[0] = name('far', 0), name('far', 1), name('far', 2)}

-- Whole numbers: a // b and -(-a // b) of Python, for a >= 0.
local function div(a, b) return (a - fmod(a, b)) / b end
local function div_up(a, b) return div(a + b - 1, b) end

-- The state

-- Room.opened
local function opened(token_us)
  return {
    run_id = run_id, now_us = now_us, turn = PERSON, at_us = now_us, token_us = token_us, is_paused = false, tat_turn = 0,
    tail = 0, head = 0, gate = 0, passes = 0, signups = 0, form_s = 0,
    near_at = 0, far_at = 0, near_since_us = now_us, far_since_us = now_us,
    acts = {0, false, cjson.null, ''}, pace = {1000000 / token_us, 'lag-unknown', now_us, 0},
    -- Counts
    counted_us = now_us, counted_tail = 0, counted_passes = 0, counted_gate = 0, there = 0, left = 0, watched_s = 0, gate_per_s = 0,
    ahead_from = 0, ahead_to = 0,
  }
end

-- Acts, whose third is nothing or a rate: a hole would make a table no array.  The fifth, is_closed, came later: it is
-- left out where it is false, for a gateway of the version before reads four, and may run beside this one while it is rolled.
local function filled(acts)
  acts[3], acts[5] = acts[3] or cjson.null, acts[5] or nil
  return acts
end

local function load()
  local state = redis.call('GET', KEYS[1])
  room = state and cmsgpack.unpack(state)
  if room then filled(room.acts) end
  return room
end

local function save()
  redis.call('SET', KEYS[1], cmsgpack.pack(room))
  redis.call('DEL', LIVE, THERE)
  for key in pairs(touched) do redis.call('EXPIRE', key, SLOTS_KEPT_S) end
end

-- The clock of turn.py

local function turns_in(span_us)
  local rest_us = fmod(span_us, room.token_us)
  return (span_us - rest_us) / room.token_us * PERSON + div(rest_us * PERSON, room.token_us)
end

local function span_us(turns)
  local rest = fmod(turns, PERSON)
  return (turns - rest) / PERSON * room.token_us + div_up(rest * room.token_us, PERSON)
end

local function turn_now()
  if room.is_paused then return room.turn end
  return room.turn + turns_in(max(now_us - room.at_us, 0))
end

local function due_us(turn) return room.at_us + span_us(max(turn - room.turn, 0)) end

-- with_rate, paused and resumed
local function anchor(token_us, is_paused)
  room.turn, room.at_us = turn_now(), now_us
  room.token_us, room.is_paused = token_us, is_paused
end

-- Room._advance
local function advance()
  local gap_us = now_us - room.now_us
  local surplus_us = gap_us - min(max(gap_us, 0), STEP_US_MAX)
  room.at_us = room.at_us + surplus_us
  room.near_since_us, room.far_since_us = room.near_since_us + surplus_us, room.far_since_us + surplus_us
  room.counted_us = room.counted_us + surplus_us
  room.now_us = now_us
end

-- The room as of now; nothing, where it is behind what was seen.
local function enter()
  if not load() or room.run_id ~= run_id or room.tail < given[4] or room.head < given[5] then return false end
  advance()
  return true
end

local function behind() return redis.error_reply('BEHIND the room is not what was seen') end

local function lobby_size() return max(1, div_up(policy.lobby_us, room.token_us)) end

local function far_us() return max(policy.far_us, 550000 * max(policy.poll_s_max, div(room.there, policy.poll_budget_per_s))) end

-- Bits

-- How many are set from `first` on, before `last`.
local function count(bitmap, first, last)
  if last <= first then return 0 end
  return redis.call('BITCOUNT', bitmap, first, last - 1, 'BIT')
end

-- The place of the k-th from `first` on, before `last`, counted from 1; there must be so many.
local function kth_of_enough(bitmap, k, first, last)
  while last - first > 1 do
    local half = first + div(last - first, 2)
    local low = count(bitmap, first, half)
    if low >= k then last = half else first, k = half, k - low end
  end
  return first
end

-- The same; -1 if there are fewer.
local function kth(bitmap, k, first, last)
  return count(bitmap, first, last) < k and -1 or kth_of_enough(bitmap, k, first, last)
end

-- Those of the windows who are not through: what OR adds of them, XOR takes away.  ANDNOT came with Redis 8.2.
local function union(into, windows)
  redis.call('BITOP', 'OR', into, THROUGH, windows[0], unpack(windows))
  redis.call('BITOP', 'XOR', into, into, THROUGH)
end

local function mark(bitmap, place) return redis.call('SETBIT', bitmap, place, 1) end

-- All from `first` on, before `last`: bytes that are full at once.
local function mark_all(bitmap, first, last)
  while first < last and fmod(first, 8) > 0 do
    mark(bitmap, first)
    first = first + 1
  end
  local bytes = div(max(last - first, 0), 8)
  if bytes > 0 then redis.call('SETRANGE', bitmap, first / 8, ('\255'):rep(bytes)) end
  for place = first + bytes * 8, last - 1 do mark(bitmap, place) end
end

-- Room._seen
local function see(place, is_near)
  if place < 0 or place >= room.tail then return end
  if is_near then mark(NEAR[room.near_at], place) end
  mark(FAR[room.far_at], place)
end

-- The door

-- Behind the first of a burst, who is let in anyway.
local function burst_turns() return max(0, turns_in(policy.burst_us) - PERSON) end

local function ahead_turns_max() return burst_turns() + turns_in(max(policy.hold_us, min(policy.hold_slow_us_max, room.token_us))) end

local function owed_people() return div(max(0, room.tat_turn - turn_now()), PERSON) end

-- slot_s, in its chunk; nil where there is none.
local function slot_of(place)
  local at = fmod(place, SLOTS_IN_KEY)
  local bytes = redis.call('GETRANGE', name('slots', (place - at) / SLOTS_IN_KEY), at * 4, at * 4 + 3)
  local slot_s = #bytes == 4 and struct.unpack('>I4', bytes) or 0
  return slot_s > 0 and slot_s or nil
end

local function set_slot(place, slot_s)
  local at = fmod(place, SLOTS_IN_KEY)
  local key = name('slots', (place - at) / SLOTS_IN_KEY)
  redis.call('SETRANGE', key, at * 4, struct.pack('>I4', slot_s))
  touched[key] = true
end

-- Room._again: turn and slot_s, or nothing
local function again(place)
  local slot_s = slot_of(place)
  if not slot_s or now_us >= (slot_s + PASS_S) * 1000000 then return nil end
  local turn = tonumber(redis.call('ZSCORE', BOOKED, place))
  if not turn then return 0, slot_s end
  if room.is_paused or turn_now() - turn > turns_in(policy.burst_us) then return nil end
  return turn, slot_s
end

-- Room._book: turn and slot_s; or nothing, and in how long there may be a turn
local function book(place)
  local now_turn = turn_now()
  local turn = max(room.tat_turn, now_turn) -- what was not used is gone
  local over = turn - now_turn - ahead_turns_max()
  if over > 0 then return nil, span_us(over) end
  room.tat_turn = turn + PERSON
  local slot_turn = max(now_turn, turn - burst_turns())
  local slot_s = div_up(due_us(slot_turn), 1000000)
  room.passes = room.passes + 1 - mark(THROUGH, place)
  set_slot(place, slot_s)
  redis.call('ZADD', BOOKED, slot_turn, place)
  return slot_turn, slot_s
end

-- The sign

-- Room._count
local function count_people()
  local seconds = (now_us - room.counted_us) / 1000000
  union(THERE, FAR)
  local there = redis.call('BITCOUNT', THERE)
  local left = room.tail - room.counted_tail - (room.passes - room.counted_passes) - (there - room.there)
  local fade = 90 / (90 + seconds)
  local moved = max(0, room.gate - room.counted_gate)
  room.left, room.watched_s = room.left * fade + left, room.watched_s * fade + there * seconds
  room.gate_per_s = (room.gate_per_s * 10 + moved) / (10 + seconds)
  room.counted_us, room.counted_tail, room.counted_passes, room.counted_gate, room.there = now_us, room.tail, room.passes, room.gate, there
  room.ahead_from, room.ahead_to = room.head, room.tail
  local ahead, edge = {0}, room.head
  for step = 1, 64 do
    local next_edge = room.head + div((room.tail - room.head) * step, 64)
    ahead[step + 1] = ahead[step] + count(THERE, edge, next_edge)
    edge = next_edge
  end
  redis.call('SET', prefix .. 'ahead', cmsgpack.pack(ahead))
end

local function ahead_counted()
  local packed = redis.call('GET', prefix .. 'ahead')
  if packed then return cmsgpack.unpack(packed) end
  local ahead = {}
  for step = 1, 65 do ahead[step] = 0 end
  return ahead
end

-- The places after the first and each 16th of the called: bits.places_of of LIVE below head.
local function called_places(called)
  local places, base, taken = {}, 0, 0
  for step = 0, 16 do
    local rank = step == 0 and min(1, called) or div(called * step, 16)
    if rank > taken then
      base, taken = kth_of_enough(LIVE, rank - taken, base, room.head) + 1, rank
    end
    places[step + 1] = base
  end
  return places
end

-- Room._sign, in the order of sign.Sign; LIVE is as of now
local function sign(booked)
  local called = count(LIVE, 0, room.head)
  local guess = 60 * room.there
  local leaving = (room.left + guess * (1 / 2400)) / max(room.watched_s + guess, 1)
  return {
    now_us, {room.turn, room.at_us, room.token_us, room.is_paused}, room.gate, room.head, room.tail, called, booked, called_places(called),
    room.there, room.ahead_from, room.ahead_to, ahead_counted(), min(max(leaving, 0), 1 / 60), room.gate_per_s, far_us(),
    room.passes, room.signups, room.form_s, room.acts, room.pace, room.counted_passes,
  }
end

