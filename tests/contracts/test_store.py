"""One exam for MemoryStore and RedisStore on a real server.

What a limiter relies on is examined here, on both; so a test that uses the one in memory says
something about the real one.  What only Redis can do wrong stands in test_redis_store.py, and
every turn of the arithmetic in test_take.py.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import Final, NamedTuple

import pytest
import pytest_asyncio
from msgspec.structs import replace

from devstack import Devstack
from ratelimit.bucket import Limit
from ratelimit.memory_store import MemoryStore
from ratelimit.policy import Ask, Decision, Policy, Rule
from ratelimit.redis_store import RedisStore
from ratelimit.store import ASKS_MAX, Store

NOW_US: Final = 4_000_000_000_000_000  # ahead of the server's clock, see test_take.py
WEEK: Final = Limit.per(1, period_s=7 * 86_400, burst=3)

_names: Final = count(1)


class Examinee(NamedTuple):
    """A store, and the same at an instant of our choice."""

    store: Store
    at: Callable[[Sequence[Ask], int], Awaitable[Sequence[Decision]]]


def _memory() -> Examinee:
    store = MemoryStore(lambda: clock[0])
    clock = [NOW_US]

    async def at(asks: Sequence[Ask], now_us: int) -> Sequence[Decision]:
        clock[0] = now_us
        return await store.decide(asks)

    return Examinee(store, at)


def _redis(url: str) -> Examinee:
    store = RedisStore(url, prefix=f"exam{next(_names)}:")
    return Examinee(store, lambda asks, now_us: store.decide(asks, now_us=now_us))


@pytest_asyncio.fixture(loop_scope="session")
async def closing() -> AsyncIterator[list[Store]]:
    """What to close when the test is over, however it ends."""
    stores: list[Store] = []
    yield stores
    for store in stores:
        await store.close()


# Not async: only so can a fixture ask for the real stack only where it is needed.
@pytest.fixture(params=["memory", "redis"])
def examinee(request: pytest.FixtureRequest, closing: list[Store]) -> Examinee:
    made = _memory() if request.param == "memory" else _redis(request.getfixturevalue("stack").redis.url)
    closing.append(made.store)
    return made


def key() -> bytes:
    return b"exam:key%d" % next(_names)


def ask(limit: Limit, *keys: bytes, tokens: int = 1) -> Ask:
    return Ask(Policy("p", tuple(Rule("r", limit) for _ in keys)), keys, tokens)


def granted(decisions: Sequence[Decision]) -> list[int]:
    return [decision.granted for decision in decisions]


async def test_burst_then_rate(examinee: Examinee) -> None:
    """The rows of bucket.py's own test: three at once, then one per 100 ms; and a clock that steps back."""
    one = ask(Limit.per(10, period_s=1, burst=3), key())
    steps_ms = [(900, 0), (900, 0), (900, 0), (900, 100), (999, 1), (1000, 0), (1000, 100), (0, 100), (100, 0)]
    for at_ms, want_ms in steps_ms:
        [decision] = await examinee.at([one], NOW_US + at_ms * 1000)
        assert (at_ms, decision.retry_after_us) == (at_ms, want_ms * 1000)


async def test_asks_of_a_call_see_what_those_before_them_did(examinee: Examinee) -> None:
    one = ask(WEEK, key())
    asks = [one, one, one, one, replace(one, kind="refund"), replace(one, kind="peek"), one, one]
    decisions = await examinee.store.decide(asks)
    assert granted(decisions) == [1, 1, 1, 0, 0, 0, 1, 0]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0, 1, 1, 0, 0]


async def test_a_refusal_by_one_limit_costs_nothing_at_the_others(examinee: Examinee) -> None:
    shared, used_up = key(), key()
    await examinee.store.decide([ask(WEEK, used_up, tokens=3)])
    [refused, passed] = await examinee.store.decide([ask(WEEK, shared, used_up), ask(WEEK, shared, tokens=3)])
    assert (refused.granted, refused.violated, passed.granted) == (0, 1, 3)


async def test_some_are_as_many_as_there_are(examinee: Examinee) -> None:
    name = key()
    some = replace(ask(WEEK, name, tokens=2), kind="some")
    assert granted(await examinee.store.decide([some, some, some])) == [2, 1, 0]


async def test_who_is_new_costs_where_he_comes_from(examinee: Examinee) -> None:
    policy = Policy("p", (Rule("user", WEEK, is_identity=True),), newcomers=Limit(WEEK.token_us, 2))
    network, users = key(), [key() for _ in range(3)]
    asks = [Ask(policy, (user, network)) for user in users]
    assert granted(await examinee.store.decide(asks)) == [1, 1, 0]
    assert granted(await examinee.store.decide(asks)) == [1, 1, 0]  # who is known costs nothing; and the third is still new


async def test_a_changed_limit_holds_at_once(examinee: Examinee) -> None:
    """What is owed is time: a smaller bucket owes no more than all of itself."""
    name = key()
    await examinee.at([ask(Limit(1_000, 100), name, tokens=100)], NOW_US)
    [refused] = await examinee.at([ask(Limit(10, 5), name)], NOW_US)
    assert refused.retry_after_us == 10


async def test_the_largest_call(examinee: Examinee) -> None:
    shared = key()
    asks = [ask(Limit(WEEK.token_us, 50), shared, *[key() for _ in range(4)]) for _ in range(ASKS_MAX)]
    assert granted(await examinee.store.decide(asks)) == [1] * 50 + [0] * (ASKS_MAX - 50)


async def test_calls_at_once_admit_no_more_than_one_after_the_other(examinee: Examinee) -> None:
    one = ask(WEEK, key())
    answers = await asyncio.gather(*(examinee.store.decide([one, one]) for _ in range(4)))
    assert sum(sum(granted(answer)) for answer in answers) == 3


async def test_beats_tell_how_many_live(examinee: Examinee) -> None:
    """Each worker counts once, however often it beats."""
    assert [await examinee.store.beat(worker, 60) for worker in "abab"] == [1, 2, 2, 2]


async def test_who_no_longer_beats_is_no_longer_counted(examinee: Examinee) -> None:
    await examinee.store.beat("dies", 0.05)
    await examinee.at([ask(WEEK, key())], NOW_US + 50_000)  # the clock of the one in memory; Redis' own goes by itself
    while await examinee.store.beat("lives", 60) > 1:
        await asyncio.sleep(0)


async def test_closing_twice_and_before_any_contact(examinee: Examinee) -> None:
    await examinee.store.close()
    await examinee.store.close()


async def test_two_stores_of_one_redis_share_buckets_and_beats(stack: Devstack) -> None:
    prefix, one = f"exam{next(_names)}:", ask(WEEK, key())
    stores = [RedisStore(stack.redis.url, prefix=prefix) for _ in range(2)]
    assert [granted(await store.decide([one, one])) for store in stores] == [[1, 1], [1, 0]]
    assert [await store.beat(f"w{n}", 60) for n, store in enumerate(stores)] == [1, 2]
    for store in stores:
        await store.close()
