"""What MemoryStore has beside the promise of every store (tests/contracts/test_store.py): a bound."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from ratelimit.bucket import Limit
from ratelimit.memory_store import MemoryStore
from ratelimit.policy import Ask, Policy, Rule

POLICY: Final = Policy("p", (Rule("r", Limit(token_us=1_000, burst=10)),))


class Clock:
    now_us = 0

    def __call__(self) -> int:
        return self.now_us


def asks(numbers: Sequence[int], tokens: int = 1) -> list[Ask]:
    return [Ask(POLICY, (b"%d" % n,), tokens) for n in numbers]


async def test_a_flood_of_keys_is_bounded() -> None:
    store = MemoryStore(Clock(), keys_max=16)
    for n in range(0, 1_000, 5):
        await store.decide(asks(range(n, n + 5)))
        assert len(store) <= 16


async def test_the_buckets_that_owe_most_are_kept() -> None:
    """What is forgotten is forgiven; so let it be little."""
    store = MemoryStore(Clock(), keys_max=16)
    await store.decide(asks([0], tokens=10))
    await store.decide(asks(range(1, 100)))
    assert [decision.granted for decision in await store.decide(asks([0]))] == [0]


async def test_full_buckets_go_before_any_that_owes() -> None:
    clock = Clock()
    store = MemoryStore(clock, keys_max=16)
    await store.decide(asks(range(10)))
    clock.now_us = 1_000  # full again
    await store.decide(asks(range(100, 107)))
    assert len(store) == 7


async def test_a_full_bucket_is_no_key() -> None:
    store = MemoryStore(Clock())
    await store.decide(asks([1]))
    await store.decide([replace(ask, kind="refund") for ask in asks([1])])
    assert len(store) == 0
