-- take: decide up to 128 asks one after the other, in one step.  The arithmetic of bucket.py
-- and policy.py; tests/contracts/test_take.py holds them equal.
--
-- KEYS     every bucket the asks name, each once: full_at in µs since the epoch; absent = full
-- ARGV[1]  msgpack {now_us, policies, asks}
--            now_us    0 = this server's clock; tests pass one that lies ahead of it
--            policies  each as policy.Policy: {name, rules, on_error, is_shadow, newcomers}
--                      a rule {name, limit, is_identity}, a limit {token_us, burst}
--            asks      flat: policy, kind, tokens, then a key for each rule and for newcomers
--                      policy and keys count from 1; kinds as below
-- returns  msgpack, for each ask {granted, retry_after_us, violated, remaining}
--
-- Reads each key once and writes each that changed once, to expire in the millisecond after
-- it is full.  All keys are on one server: a cluster would refuse the call.  Every number is
-- an integer below 2^53, so a double holds it.  They go to redis.call as they are; `..` and
-- tostring() would keep 14 digits, and the last two of a µs are not among them.

local TAKE, SOME, PEEK, REFUND = 0, 1, 2, 3
local floor, max, min = math.floor, math.max, math.min

local call = cmsgpack.unpack(ARGV[1])
local now_us, policies, asks = call[1], call[2], call[3]
if now_us == 0 then
  local time = redis.call('TIME') -- once: before Redis 7.2 it moves while a script runs
  now_us = time[1] * 1000000 + time[2]
end

-- What is read; then, in the whole call, how far each bucket is from full.
local full_at_us, owed_us = {}, {}
for i, value in ipairs(redis.call('MGET', unpack(KEYS))) do
  full_at_us[i] = value and tonumber(value)
  owed_us[i] = max((full_at_us[i] or 0) - now_us, 0)
end

-- A policy as arrays: the buckets of its rules, then that of newcomers.
for i, policy in ipairs(policies) do
  local token_us, capacity_us, is_identity, limits = {}, {}, {}, {}
  for r, rule in ipairs(policy[2]) do
    limits[r], is_identity[r] = rule[2], rule[3]
  end
  local rules, newcomers = #limits, policy[5]
  if newcomers then limits[rules + 1] = newcomers end
  for r, limit in ipairs(limits) do
    token_us[r], capacity_us[r] = limit[1], limit[1] * limit[2]
  end
  policies[i] = {rules = rules, newcomers = newcomers, token_us = token_us, capacity_us = capacity_us, is_identity = is_identity}
end

-- The owed time of an ask's buckets, clamped: see bucket.owed; and how many of them are made.
local function look(policy, at)
  local owed, made = {}, 0
  for r = 1, #policy.token_us do
    owed[r] = owed_us[asks[at + r]]
    if owed[r] == 0 and policy.is_identity[r] then made = made + 1 end
    owed[r] = min(owed[r], policy.capacity_us[r])
  end
  return owed, made
end

local function least(policy, owed)
  local fewest = math.huge
  for r = 1, policy.rules do
    fewest = min(fewest, floor((policy.capacity_us[r] - owed[r]) / policy.token_us[r]))
  end
  return fewest
end

local function give_back(policy, at, tokens)
  local owed = look(policy, at)
  for r = 1, policy.rules do -- newcomers stay: the key was made
    owed[r] = max(owed[r] - tokens * policy.token_us[r], 0)
    owed_us[asks[at + r]] = owed[r]
  end
  return {0, 0, -1, least(policy, owed)}
end

local function spend(policy, at, tokens, kind)
  local owed, made = look(policy, at)
  if kind == SOME then tokens = max(1, min(tokens, least(policy, owed))) end
  if kind == PEEK then tokens = 1 end
  local after, retry_after_us, violated = {}, 0, -1
  for r = 1, #owed do
    local cost = r <= policy.rules and tokens or min(made, policy.newcomers[2])
    after[r] = owed[r] + cost * policy.token_us[r]
    local late_us = after[r] - policy.capacity_us[r]
    if late_us > retry_after_us then retry_after_us, violated = late_us, r - 1 end
  end
  if violated >= 0 or kind == PEEK then
    -- The clamped state is kept: else the old clock would keep the key shut.
    after, tokens = owed, 0
  end
  for r = 1, #after do
    owed_us[asks[at + r]] = after[r]
  end
  return {tokens, retry_after_us, violated, least(policy, after)}
end

local answers, at = {}, 1
while asks[at] do
  local policy, kind, tokens = policies[asks[at]], asks[at + 1], asks[at + 2]
  local answer
  if kind == REFUND then answer = give_back(policy, at + 2, tokens) else answer = spend(policy, at + 2, tokens, kind) end
  answers[#answers + 1] = answer
  at = at + 3 + #policy.token_us
end

for i, key in ipairs(KEYS) do
  local now_full_at_us = now_us + owed_us[i]
  if owed_us[i] == 0 then
    if full_at_us[i] then redis.call('DEL', key) end
  elseif now_full_at_us ~= full_at_us[i] then
    redis.call('SET', key, now_full_at_us, 'PXAT', floor(now_full_at_us / 1000) + 1)
  end
end

return cmsgpack.pack(answers)
