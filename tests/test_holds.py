"""Held answers: each at its turn by the newest clock and not before; what a pause, a new rate and a stall make of them."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import pytest

from gateway.core.place import Hold
from gateway.core.sign import Policy
from gateway.core.turn import PERSON, DoorClock
from gateway.holds import Holds
from tests.fakes import VirtualLoop, in_virtual_time

POLICY: Final = Policy()
TOKEN_US: Final = 100_000  # 10/s
S: Final = 1_000_000
GRAIN_US: Final = 2_000  # of the timer


class Door:
    """A worker's reckoning of the room's time, which a test may let jump, and the sign's clock."""

    def __init__(self, token_us: int = TOKEN_US) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._clock = loop.clock
        self.jumped_us = 0
        self.clock = DoorClock(PERSON, self.now_us(), token_us)
        self.holds = Holds(POLICY, self.now_us)
        self.ends: dict[int, tuple[Hold, int]] = {}  # turn → what became of it, and when

    def now_us(self) -> int:
        return self._clock.now_us() + self.jumped_us

    def hold(self, *people: int) -> "list[asyncio.Future[Hold]]":
        """For the turns of so many people from now."""
        return [self._held(self.clock.turn_at(self.now_us()) + number * PERSON) for number in people]

    def _held(self, turn: int) -> "asyncio.Future[Hold]":
        future = self.holds.until(turn, self.clock)
        future.add_done_callback(lambda done: None if done.cancelled() else self._ended(turn, done.result()))
        return future

    def _ended(self, turn: int, verdict: Hold) -> None:
        if verdict is Hold.GIVE:
            assert self.clock.turn_at(self.now_us()) >= turn, "too early"
        self.ends[turn] = verdict, self.now_us()

    def moved(self, clock: DoorClock) -> None:
        self.clock = clock
        self.holds.moved(clock)


def verdicts(futures: "Sequence[asyncio.Future[Hold]]") -> list[Hold | None]:
    return [future.result() if future.done() else None for future in futures]


@in_virtual_time
async def test_each_is_given_at_its_turn_whatever_the_order_they_came_in() -> None:
    door = Door()
    began_us = door.now_us()
    held = door.hold(7, 3, 25, 1, 3)
    assert len(door.holds) == 5
    assert await asyncio.gather(*held) == [Hold.GIVE] * 5
    for turn, (_, at_us) in door.ends.items():
        due_us = began_us + (turn - PERSON) // PERSON * TOKEN_US
        assert due_us <= at_us <= due_us + GRAIN_US
    assert len(door.holds) == 0


@in_virtual_time
async def test_a_turn_that_has_come_is_given_at_once_and_one_long_gone_is_late() -> None:
    door = Door()
    await asyncio.sleep(1)
    assert verdicts(door.hold(0, -2)) == [Hold.GIVE] * 2
    assert verdicts(door.hold(-3)) == [Hold.LATE]
    assert len(door.holds) == 0


@pytest.mark.parametrize(("slept_us", "verdict"), [(POLICY.burst_us - GRAIN_US, Hold.GIVE), (POLICY.burst_us + GRAIN_US, Hold.LATE)])
@in_virtual_time
async def test_who_was_overslept_by_more_than_the_burst_is_not_given(slept_us: int, verdict: Hold) -> None:
    door = Door()
    held = door.hold(5, 20)
    await asyncio.sleep(0.4)
    door.jumped_us = slept_us  # the worker stood still
    assert await held[0] is verdict
    assert await held[1] is Hold.GIVE


@in_virtual_time
async def test_a_pause_ends_every_hold() -> None:
    door = Door()
    held = door.hold(5, 2, 20)
    await asyncio.sleep(0.3)
    door.moved(door.clock.paused(door.now_us()))
    assert verdicts(held) == [Hold.END, Hold.GIVE, Hold.END]
    assert verdicts(door.hold(1)) == [Hold.END]
    await asyncio.sleep(5)
    door.moved(door.clock.resumed(door.now_us()))
    [again] = door.hold(3)
    assert await again is Hold.GIVE


@in_virtual_time
async def test_a_cut_moves_the_turns_and_ends_what_lies_too_far() -> None:
    """10/s to 2/s after half a second: within 2.7 s from there come five people more."""
    door = Door()
    began_us = door.now_us()
    held = door.hold(8, 10, 11, 25)
    await asyncio.sleep(0.5)
    door.moved(door.clock.with_rate(5 * TOKEN_US, door.now_us()))
    assert verdicts(held) == [None, None, Hold.END, Hold.END]
    assert await held[0] is Hold.GIVE
    assert abs(door.now_us() - began_us - S // 2 - 3 * 5 * TOKEN_US) <= GRAIN_US


@in_virtual_time
async def test_a_faster_rate_gives_sooner() -> None:
    door = Door()
    began_us = door.now_us()
    held = door.hold(20)
    await asyncio.sleep(1)
    door.moved(door.clock.with_rate(TOKEN_US // 5, door.now_us()))
    assert await held[0] is Hold.GIVE
    assert abs(door.now_us() - began_us - S - 10 * TOKEN_US // 5) <= GRAIN_US


@in_virtual_time
async def test_a_hold_that_begins_with_a_newer_clock_moves_the_others() -> None:
    door = Door()
    held = door.hold(20)
    door.clock = door.clock.paused(door.now_us())
    door.hold(1)
    assert verdicts(held) == [Hold.END]


@in_virtual_time
async def test_a_reckoning_that_falls_back_gives_nothing_early() -> None:
    """A newer sign says that it is 300 ms earlier than this worker thought; the timer comes too soon, and is set again."""
    door = Door()
    held = door.hold(5)
    await asyncio.sleep(0.45)
    door.jumped_us = -300_000
    began_us = door.now_us()
    assert await held[0] is Hold.GIVE
    assert abs(door.now_us() - began_us - 350_000) <= GRAIN_US


@in_virtual_time
async def test_a_reckoning_that_was_behind_is_put_right_with_the_next_sign() -> None:
    """The door's clock is the same; only the sign before had come slowly.  Nobody is late for that."""
    door = Door()
    held = door.hold(8)
    await asyncio.sleep(0.1)
    door.jumped_us = 400_000
    door.moved(door.clock)
    began_us = door.now_us()
    assert await held[0] is Hold.GIVE
    assert abs(door.now_us() - began_us - 300_000) <= GRAIN_US


@in_virtual_time
async def test_who_hangs_up_delays_nobody() -> None:
    door = Door()
    held = door.hold(1, 2, 3)
    held[0].cancel()
    held[2].cancel()
    assert await held[1] is Hold.GIVE
    await asyncio.sleep(1)
    assert len(door.holds) == 0


@in_virtual_time
async def test_a_worker_that_ends_holds_nobody() -> None:
    door = Door()
    held = door.hold(1, 20)
    held[1].cancel()
    door.holds.close()
    assert (held[0].result(), len(door.holds)) == (Hold.END, 0)
    await asyncio.sleep(5)


@pytest.mark.parametrize("seed", range(25))
@in_virtual_time
async def test_whatever_the_door_does_each_is_told_once_and_never_early(seed: int) -> None:
    """Rates, pauses, falling reckonings at random: what is given is given at its turn, within a burst; nobody is forgotten."""
    draw = random.Random(seed)
    door = Door()
    held: list[asyncio.Future[Hold]] = []
    for _ in range(150):
        match draw.randrange(8):
            case 0:
                door.moved(door.clock.with_rate(draw.choice([TOKEN_US, TOKEN_US // 10, TOKEN_US * 5]), door.now_us()))
            case 1:
                clock, now_us = door.clock, door.now_us()
                door.moved(clock.resumed(now_us) if clock.is_paused else clock.paused(now_us))
            case 2:
                door.jumped_us -= draw.randrange(50_000)
            case _:
                held += door.hold(*(draw.randrange(30) for _ in range(draw.randrange(6))))
        await asyncio.sleep(draw.choice([0.0, 0.01, 0.3]))
    door.moved(door.clock.resumed(door.now_us()))
    await asyncio.gather(*held)
    assert len(door.holds) == 0
    assert Hold.GIVE in (ends := [verdict for verdict, _ in door.ends.values()])
    assert Hold.LATE not in ends
