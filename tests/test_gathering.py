"""Group commit: who shares a call, in which order, and what becomes of all when it fails.  In virtual time."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import pytest

from gateway.errors import RoomAway
from gateway.gathering import Gathering
from tests.fakes import in_virtual_time

MOST: Final = 4


class Store:
    """Answers a number with its double after a while; keeps what it was asked."""

    def __init__(self, latency_s: float = 0.1) -> None:
        self.latency_s = latency_s
        self.calls: list[list[int]] = []
        self.at_work = 0
        self.error: Exception | None = None

    async def ask(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.at_work += 1
        assert self.at_work == 1, "two calls at once"
        await asyncio.sleep(self.latency_s)
        self.at_work -= 1
        if self.error is not None:
            raise self.error
        return [2 * item for item in items]


def gathering(store: Store, waiting_max: int = 100) -> Gathering[int, int]:
    return Gathering(store.ask, MOST, waiting_max)


@in_virtual_time
async def test_what_is_asked_in_one_tick_shares_one_call() -> None:
    store = Store()
    gate = gathering(store)
    assert await asyncio.gather(*(gate.enter(item) for item in (3, 1, 2))) == [6, 2, 4]
    assert store.calls == [[3, 1, 2]]


@in_virtual_time
async def test_a_lone_item_waits_for_nobody() -> None:
    store, began_s = Store(latency_s=0.0), asyncio.get_running_loop().time()
    assert await gathering(store).enter(5) == 10
    assert asyncio.get_running_loop().time() == began_s


@in_virtual_time
async def test_who_comes_during_a_call_gathers_for_the_next() -> None:
    """In order, at most so many a call, and one call at a time."""
    store = Store()
    gate = gathering(store)
    answers = [gate.enter(1)]
    await asyncio.sleep(0.05)
    answers += [gate.enter(item) for item in range(2, 8)]
    assert await asyncio.gather(*answers) == [2 * item for item in range(1, 8)]
    assert store.calls == [[1], [2, 3, 4, 5], [6, 7]]


@in_virtual_time
async def test_a_failed_call_fails_all_who_shared_it_and_asks_nothing_twice() -> None:
    store = Store()
    gate = gathering(store)
    store.error = RoomAway("broken")
    shared = [gate.enter(item) for item in range(MOST)]
    later = [gate.enter(item) for item in (7, 8)]
    found = await asyncio.gather(*shared, return_exceptions=True)
    assert [str(error) for error in found] == ["broken"] * MOST
    store.error = None
    assert await asyncio.gather(*later) == [14, 16]
    assert store.calls == [[0, 1, 2, 3], [7, 8]]
    assert await gate.enter(9) == 18


@pytest.mark.parametrize("error", [ValueError("a bug"), AssertionError("another")])
@in_virtual_time
async def test_a_mistake_in_the_call_leaves_nobody_waiting(error: Exception) -> None:
    store = Store()
    gate = gathering(store)
    store.error = error
    found = await asyncio.gather(*(gate.enter(item) for item in range(6)), return_exceptions=True)
    assert found == [error] * 6
    store.error = None
    assert await gate.enter(9) == 18


@in_virtual_time
async def test_too_few_answers_are_given_to_nobody() -> None:
    """Else each would have the next one's place."""

    async def ask(items: Sequence[int]) -> list[int]:
        return list(items[1:])

    gate: Gathering[int, int] = Gathering(ask, MOST, 10)
    found = await asyncio.gather(*(gate.enter(item) for item in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [ValueError] * 3


@in_virtual_time
async def test_who_hangs_up_takes_nobody_with_them() -> None:
    """Their item is asked all the same: it may be half done already."""
    store = Store()
    gate = gathering(store)
    taken = [gate.enter(1), gate.enter(2)]
    await asyncio.sleep(0.05)
    waiting = [gate.enter(3), gate.enter(4)]
    taken[0].cancel()
    waiting[1].cancel()
    assert (await taken[1], await waiting[0]) == (4, 6)
    assert store.calls == [[1, 2], [3, 4]]
    store.error = RoomAway("broken")
    left = gate.enter(5)
    await asyncio.sleep(0.05)
    left.cancel()
    await asyncio.sleep(1)
    store.error = None
    assert await gate.enter(6) == 12


@in_virtual_time
async def test_who_would_wait_too_long_is_told_at_once() -> None:
    store = Store()
    gate = gathering(store, waiting_max=3)
    out = gate.enter(0)
    await asyncio.sleep(0)
    waiting = [gate.enter(item) for item in range(1, 4)]
    with pytest.raises(RoomAway, match="3 wait"):
        gate.enter(4)
    assert await asyncio.gather(out, *waiting) == [0, 2, 4, 6]
    assert store.calls == [[0], [1, 2, 3]]


@pytest.mark.parametrize("seed", range(20))
@in_virtual_time
async def test_each_is_asked_once_in_order_and_told_the_answer_to_its_own_question(seed: int) -> None:
    """Calls fail, and some hang up, at random."""
    draw = random.Random(seed)
    store = Store()
    gate = gathering(store, waiting_max=1_000)
    answers: list[asyncio.Future[int]] = []
    for item in range(200):
        answers.append(gate.enter(item))
        if draw.random() < 0.2:
            draw.choice(answers).cancel()
        if draw.random() < 0.3:
            store.latency_s, store.error = draw.choice([0.0, 0.01, 0.3]), RoomAway("broken") if draw.random() < 0.2 else None
            await asyncio.sleep(draw.choice([0.0, 0.005, 0.2]))
    found = await asyncio.gather(*answers, return_exceptions=True)
    assert [item for call in store.calls for item in call] == list(range(200))
    assert max(map(len, store.calls)) <= MOST
    assert all(answer == 2 * item for item, answer in enumerate(found) if not isinstance(answer, BaseException))
    for call in store.calls:  # one fate for all of a call but those who left
        assert len({isinstance(found[item], RoomAway) for item in call if not isinstance(found[item], asyncio.CancelledError)}) <= 1
