"""The fake keeps the promises of ratelimit.store.Store, and its switches do what they say."""

import asyncio

import pytest

from ratelimit.bucket import Limit
from ratelimit.memory_store import MemoryStore
from ratelimit.policy import Ask, Policy, Rule
from ratelimit.store import Store, StoreAway
from tests.fakes import VirtualLoop, in_virtual_time
from tests.ratelimit.fake_store import FakeStore

ASKS = [Ask(Policy("p", (Rule("user", Limit.per(1, 1, burst=2)),)), (b"a",), 1, kind) for kind in ("peek", "take", "some", "take", "refund", "take")]


def fake() -> FakeStore:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return FakeStore(loop.clock.now_us)


@in_virtual_time
async def test_it_decides_as_the_store_in_memory_does() -> None:
    store: Store = fake()
    memory = MemoryStore(fake().clock_us)
    assert await store.decide(ASKS) == await memory.decide(ASKS)
    assert await store.beat("w", 3) == await memory.beat("w", 3)


@in_virtual_time
async def test_frozen_it_answers_when_it_wakes() -> None:
    store = fake()
    store.pause()
    waiting = asyncio.ensure_future(store.decide(ASKS))
    await asyncio.sleep(10)
    assert (waiting.done(), store.in_flight) == (False, 1)
    store.resume()
    await asyncio.sleep(0.001)
    assert (waiting.done(), store.in_flight) == (True, 0)


@in_virtual_time
async def test_away_it_raises_and_has_decided_only_where_it_loses_answers() -> None:
    store = fake()
    store.reason = "gone"
    with pytest.raises(StoreAway, match="gone"):
        await store.decide(ASKS)
    assert store.full_at_us == {}
    store.reason, store.lose_answers = None, True
    with pytest.raises(StoreAway):
        await store.decide(ASKS)
    assert store.full_at_us
