"""Crowds before several workers and one store, at random, in virtual time: the promises of room.py as people see them.

    a place is given once; same join, same place
    passes released in any window <= rate x window + burst, whatever the network, the operator and the phones do
    everybody who keeps asking gets through, and has the same pass on asking again
    a store that goes away, or forgets, costs the line no place, and no more than the doors' shares

tests/core/test_waiting.py has the same of the law alone, where time is the test's.
"""

import asyncio
import random
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, TypeVar

import pytest

from gateway import room as room_module
from gateway.core.pace import Pace
from gateway.core.sign import Slot
from gateway.core.ticket import Provisional, Ticket
from gateway.core.turn import token_us_of
from gateway.room import Came, NoEntry, Through
from tests.fakes import in_virtual_time
from tests.lines import SETTINGS, Desk, Line

S: Final = 1_000_000
RATE: Final = SETTINGS.floor_per_s
BURST_S: Final = 0.2
LATENCY_S: Final = 0.06  # of each way, at most
TICK_S: Final = 0.25
GRAIN_S: Final = 0.002  # of timers
WORKERS: Final = 3
PEOPLE: Final = 90
MARGIN: Final = 500  # else an emptied line of ninety would be one of 45,000
T = TypeVar("T")


class Crowd:
    """Ninety phones, each of which asks any worker, hangs up at times and asks again."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.line = Line()
        self.directory = directory
        self.desks = [Desk(self.line, directory, index, WORKERS) for index in range(WORKERS)]
        self.dead: list[Desk] = []
        self.loop = asyncio.get_running_loop()
        self.released_s: dict[str, float] = {}  # pass → when it was given first, whether anybody still waited or not
        self.places: dict[int, int] = {}  # place → whose
        self.passes: dict[int, str] = {}  # person → pass
        self.is_calm = False
        for desk in self.desks:
            self._watch(desk)

    def _watch(self, desk: Desk) -> None:
        through = desk.room._through

        def watched(holder: int | bytes, slot_s: int) -> Through:
            answer = through(holder, slot_s)
            self.released_s.setdefault(answer.pass_text, self.loop.time())
            return answer

        desk.room._through = watched  # type: ignore[method-assign]

    async def start(self) -> None:
        for desk in self.desks:
            desk.start()
        await asyncio.sleep(0.3)

    async def stop(self) -> None:
        for desk in [*self.desks, *self.dead]:
            await desk.stop()

    async def die(self) -> None:
        """A worker is killed: what it held is answered to nobody.  Another takes its seat."""
        index = self.draw.randrange(WORKERS)
        gone = self.desks[index]
        await gone.stop()
        for held in gone.room._knocking.values():
            held.cancel()
        self.desks[index] = desk = Desk(self.line, self.directory, index, WORKERS)
        self._watch(desk)
        desk.start()

    async def _patient(self, call: Awaitable[T]) -> T | None:
        """The answer, if they do not hang up before, and nobody dies."""
        try:
            async with asyncio.timeout(None if self.is_calm or self.draw.random() < 0.7 else self.draw.uniform(0.01, 3)):
                return await call
        except (TimeoutError, asyncio.CancelledError):
            return None

    @property
    def desk(self) -> Desk:
        return self.draw.choice(self.desks)

    async def person(self, number: int) -> None:
        ticket: Ticket | Provisional | None = None
        await asyncio.sleep(self.draw.uniform(0, 10))
        while ticket is None:
            desk = self.desk
            came = await self._patient(desk.room.join(number.to_bytes(8, "big")))
            if not isinstance(came, Came):
                assert came is not NoEntry.FULL
                await asyncio.sleep(1)
                continue
            ticket = came.ticket
            self._has(number, ticket)
            through = await self._patient(desk.room.enter(came))
            if through is not None:
                self.passes[number] = through.pass_text
                return
        await self._wait(number, ticket)

    async def _wait(self, number: int, ticket: Ticket | Provisional) -> None:
        while True:
            ticket = await self.desk.room.placed(ticket)
            self._has(number, ticket)
            after_s = 0.0 if isinstance(ticket, Provisional) else self.desk.room.look(ticket).poll_after_s
            if not after_s:  # called, or nobody knows
                told = await self._patient(self.desk.room.knock(ticket))
                if isinstance(told, Through):
                    self.passes[number] = told.pass_text
                    return
                after_s = told.retry_after_s if told else 1.0
            await asyncio.sleep(after_s * self.draw.choice([0.1, 1, 1, 1]))  # some do not wait as they are told

    def _has(self, number: int, ticket: Ticket | Provisional) -> None:
        if isinstance(ticket, Ticket):
            assert self.places.setdefault(ticket.place, number) == number, "a place given twice"

    async def knocks_again(self, number: int) -> str | None:
        """The pass of who comes again with the ticket."""
        [place] = [place for place, whose in self.places.items() if whose == number]
        for _ in range(20):
            told = await self.desk.room.knock(Ticket(place, 0))
            if isinstance(told, Through):
                return told.pass_text
            await asyncio.sleep(0.3)
        return None

    def most_beyond(self, rate: float) -> float:
        """By how many people the fullest of all windows exceeds the rate."""
        times_s = sorted(self.released_s.values())
        return max(last + 1 - (until_s - from_s) * rate for first, from_s in enumerate(times_s) for last, until_s in enumerate(times_s[first:]))


async def everybody(crowd: Crowd, trouble: Awaitable[None]) -> None:
    """All people while there is trouble, and on until all are through."""
    await crowd.start()
    people = [asyncio.create_task(crowd.person(number)) for number in range(PEOPLE)]
    await trouble
    crowd.is_calm = True
    async with asyncio.timeout(240):
        await asyncio.gather(*people)
    assert len(crowd.passes) == PEOPLE


@pytest.mark.parametrize("has_operator", [False, True])
@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_no_window_has_more_than_the_rate_and_the_burst(tmp_path: Path, seed: int, has_operator: bool) -> None:
    """Slow and uneven answers, hang-ups, killed workers; a door that is paused and slowed, which counts from the next sign."""
    crowd = Crowd(tmp_path, seed)
    line, draw = crowd.line, crowd.draw
    line.latency_s = lambda: draw.uniform(0, LATENCY_S)
    rates, version = [RATE], 1

    async def trouble() -> None:
        nonlocal version
        for _ in range(40):
            await asyncio.sleep(draw.uniform(0, 1))
            assert line.room is not None
            match draw.randrange(6) if has_operator else draw.choice([2, 3, 4]):
                case 0:
                    rates.append(draw.choice([RATE, RATE / 5, RATE / 2]))
                    await line.set_pace(Pace.opening(rates[-1], line.now_us), line.room.pace.changed_us)
                case 1:
                    version += 1
                    await line.say(version, is_paused=version % 2 == 0)
                case 2:
                    await crowd.die()
        assert line.room is not None
        await line.say(version + 1, is_paused=False)
        await line.set_pace(Pace.opening(RATE, line.now_us), line.room.pace.changed_us)

    await everybody(crowd, trouble())
    assert not any(desk.room.is_away for desk in crowd.desks)
    # As released: as late as answers are, so that what was apart may come together.
    assert crowd.most_beyond(RATE) <= (BURST_S + 2 * LATENCY_S + GRAIN_S + has_operator * TICK_S) * RATE
    await crowd.stop()


@pytest.mark.parametrize("seed", range(4))
@in_virtual_time
async def test_with_good_answers_the_bound_is_the_burst_itself(tmp_path: Path, seed: int) -> None:
    crowd = Crowd(tmp_path, seed)

    async def trouble() -> None:
        await asyncio.sleep(5)

    await everybody(crowd, trouble())
    assert crowd.most_beyond(RATE) <= (BURST_S + GRAIN_S) * RATE
    assert len(crowd.released_s) == PEOPLE
    await asyncio.sleep(1)  # the next ticks
    for number in crowd.draw.sample(range(PEOPLE), 20):
        assert await crowd.knocks_again(number) == crowd.passes[number]
    await crowd.stop()


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_a_store_that_goes_and_forgets_costs_nobody_a_place(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away, answers lost, back as it was, older or empty; each worker's own door may let in one more than the rate."""
    monkeypatch.setattr(room_module, "MARGIN", MARGIN)
    crowd = Crowd(tmp_path, seed)
    line, draw = crowd.line, crowd.draw
    line.latency_s = lambda: draw.uniform(0, LATENCY_S)
    line.loses = lambda: not crowd.is_calm and draw.random() < 0.05

    async def trouble() -> None:
        for _ in range(5):
            line.snapshot()
            await asyncio.sleep(draw.uniform(0, 4))
            line.away = True
            await asyncio.sleep(draw.choice([0.1, 1.0, 4.0, 12.0]))
            match draw.randrange(3):
                case 0:
                    line.older()
                case 1:
                    line.forget()
            line.away = False

    await everybody(crowd, trouble())
    await asyncio.sleep(1)
    assert not any(desk.room.is_away for desk in crowd.desks)
    assert crowd.most_beyond(RATE) <= (BURST_S + 2 * LATENCY_S + GRAIN_S) * RATE + WORKERS
    await crowd.stop()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step_s", [-3_600, -0.7, 0.7, 3_600])
@in_virtual_time
async def test_a_clock_that_steps_opens_nothing(tmp_path: Path, step_s: float, seed: int) -> None:
    """Of the store's machine: a step ahead is worth a second of the rate at most, and either counts from the next sign."""
    crowd = Crowd(tmp_path, seed)

    async def trouble() -> None:
        await asyncio.sleep(crowd.draw.uniform(3, 12))
        crowd.line.step_us += int(step_s * S)
        await asyncio.sleep(5)

    await everybody(crowd, trouble())
    assert crowd.most_beyond(RATE) <= (BURST_S + GRAIN_S + min(max(step_s, 0), 1) + TICK_S) * RATE
    await crowd.stop()


@in_virtual_time
async def test_a_slot_of_another_worker_is_nobodys_for_longer_than_it_takes(tmp_path: Path) -> None:
    """A worker dies with all it held: its people knock at another one, and are booked anew."""
    crowd = Crowd(tmp_path, 1)
    await crowd.start()
    line = crowd.line
    assert line.room is not None
    line.room.pause(line.now_us)
    tickets: list[Ticket] = []
    for number in range(20):
        came = await crowd.desks[0].room.join(number.to_bytes(8, "big"))
        assert isinstance(came, Came)
        assert isinstance(came.ticket, Ticket)
        tickets.append(came.ticket)
    line.room.resume(line.now_us)
    await asyncio.sleep(0.6)
    assert all(isinstance(answer, Slot) for answer in line.room.door(range(20), line.now_us))  # somebody asked, and died
    through: list[int] = []
    for _ in range(60):
        for ticket in tickets:
            if ticket.place not in through and isinstance(await crowd.desks[1].room.knock(ticket), Through):
                through.append(ticket.place)
        await asyncio.sleep(0.3)
    assert sorted(through) == list(range(20))
    assert token_us_of(RATE) == line.room.clock.token_us
    await crowd.stop()
