"""People in virtual time over the pure rules of the line: does it keep order, and is the door ever idle?

    python -m loadtests.simulate                          every scenario with 200,000 people
    python -m loadtests.simulate --people 20000           the same shape at a tenth of the rate
    python -m loadtests.simulate --scenario base surge    some of them

The model.  Steps of 100 ms.  People join in a surge of ten times the door's rate, ask when they are told to, knock
when they are called, and come to another of four workers each time.  A worker ticks every 300 ms and goes by its
last sign.  Base: 35 % leave without a word, 15 % are away for 30-300 s, 10 % ask five times as often as told.

Columns: used: releases / rate x time, while at least two lobbies of people are there; the store's knocks per pass; worst
overtaking: passes of later places since somebody is there and asks on time, in seconds of rate, for who stayed
and for who had been away; called → pass, p99;
worst 1 s and 10 s of releases as a share of rate x window + burst (at a constant rate; not past 1); the error of p50
after two minutes, and before; order among those who had all been away (Kendall's tau).
"""

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from benchmarks.measure import percentile
from gateway.core.place import look, share_of
from gateway.core.sign import Joined, Policy, Slot
from gateway.core.turn import PERSON, token_us_of
from gateway.core.waiting import Room
from loadtests.simulate.worker import Worker

STEP_US: Final = 100_000
START_US: Final = 1_700_000_000_000_000  # an instant of this century, as the scripts will see
TICK_STEPS: Final = 3
SURGE: Final = 10.0
DRAIN_S: Final = 800.0  # how long the whole line takes: people / rate, unless told otherwise
NEVER: Final = 10**9


class Scenario(NamedTuple):
    """What people do, and what happens.  Times in s since the start, shares of the people."""

    name: str
    leave: float = 0.35
    sleep: float = 0.15
    impatient: float = 0.10
    throttled: float = 0.0  # a browser tab in the background: its timers run once a minute
    lookers: float = 0.0  # lobbies' worth of pages left open: they look and never knock
    cut_off: tuple[float, float, float] = (0.0, 0.0, 0.0)  # from, for so long, which share
    slow: tuple[float, float, float] = (0.0, 0.0, 1.0)  # from, for so long, the rate times this
    paused: tuple[float, float] = (0.0, 0.0)
    no_ticks: tuple[float, float] = (0.0, 0.0)  # worker 0
    store_away: tuple[float, float] = (0.0, 0.0)
    stalls: tuple[float, float] = (0.0, 0.0)  # worker 0 does nothing at all


SCENARIOS: Final = (
    Scenario("surge", 0.0, 0.0, 0.0),
    Scenario("base"),
    Scenario("cut60", cut_off=(200.0, 60.0, 0.6)),
    Scenario("away200", cut_off=(200.0, 200.0, 1.0)),
    Scenario("rate0.2", slow=(200.0, 120.0, 0.2)),
    Scenario("noticks", no_ticks=(200.0, 10.0)),
    Scenario("store60", store_away=(200.0, 60.0)),
    Scenario("tabs", throttled=0.3),
    Scenario("lookers", lookers=2.0),
    Scenario("stall2", stalls=(200.0, 2.0)),
    Scenario("pause60", paused=(200.0, 60.0)),
)


def _within(span: Sequence[float], now_s: float) -> bool:
    return span[0] <= now_s < span[0] + span[1]


class Person:
    """Somebody in line, as far as the simulation must know."""

    __slots__ = (
        "away",
        "called_us",
        "estimates",
        "gone",
        "impatient",
        "never_knocks",
        "number",
        "place",
        "released_us",
        "share",
        "since_us",
        "throttled",
        "through",
        "was_away",
        "was_there",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.place = -1
        self.share = 0.0
        self.away = self.gone = self.through = self.was_away = self.was_there = False
        self.impatient = self.throttled = self.never_knocks = False
        self.since_us = 0  # there, and on time
        self.called_us = 0
        self.released_us = 0
        self.estimates: list[tuple[int, float]] = []  # when, p50_s: the first, and the first after two minutes

    @property
    def is_there(self) -> bool:
        """In line, and would knock if called."""
        return not (self.away or self.gone or self.through or self.never_knocks)


class World:
    """All of it, step by step."""

    def __init__(self, scenario: Scenario, people: int, rate_per_s: float, workers: int, seed: int) -> None:
        self.scenario = scenario
        self.random = random.Random(seed)  # noqa: S311 - the same crowd every time
        self.token_us = token_us_of(rate_per_s)
        self.policy = Policy(token_us_min=self.token_us, poll_budget_per_s=max(1, round(40 * rate_per_s)))
        self.room = Room.opened(self.policy, self.token_us, START_US)
        self.workers = [Worker[Person](self.room.tick(START_US), self.policy, workers) for _ in range(workers)]
        self.coming = [Person(number) for number in range(people)]
        self.people: list[Person] = []  # by place
        self.asks: dict[int, list[Person]] = defaultdict(list)  # by step
        self.acts: dict[int, list[tuple[str, Person]]] = defaultdict(list)
        self.now_us = START_US
        self.step = 0
        self.there = 0  # people in line who are not away
        self.order: list[Person] = []  # as released
        self.knocks = self.polls = 0
        self.open_s = self.used = 0.0
        lookers = round(scenario.lookers * self.room.lobby_size)
        for person in self.random.sample(self.coming, min(lookers, people)):
            person.never_knocks = True

    @property
    def now_s(self) -> float:
        """Since the start."""
        return self.step * STEP_US / 1_000_000

    def run(self) -> None:
        """Until nobody is there any more."""
        per_step = SURGE * STEP_US / self.token_us
        arrived = 0.0
        limit = int(20_000 * 1_000_000 / STEP_US)
        while self.step < limit and (self.coming or self.there or self._is_held() or self.acts):
            self.now_us = START_US + self.step * STEP_US
            self._happen()
            before = len(self.order)
            busy = self.there >= 2 * (self.policy.lobby_us // self.token_us)
            arrived = min(arrived + per_step, len(self.coming)) if not self._store_is_away() else arrived
            if not self._store_is_away():
                self._arrive(int(arrived))
                arrived -= int(arrived)
            for person in self.asks.pop(self.step, ()):
                self._ask(person)
            for index, worker in enumerate(self.workers):
                if not (index == 0 and _within(self.scenario.stalls, self.now_s)):
                    self._work(index, worker)
            if busy and not self.room.clock.is_paused:
                self.open_s += STEP_US / self.room.clock.token_us
                self.used += len(self.order) - before
            self.step += 1

    def _is_held(self) -> bool:
        return any(worker.held for worker in self.workers)

    def _store_is_away(self) -> bool:
        return _within(self.scenario.store_away, self.now_s)

    # What happens

    def _happen(self) -> None:
        scenario, step_s = self.scenario, STEP_US / 1_000_000
        for kind, person in self.acts.pop(self.step, ()):
            self._act(kind, person)

        def is_now(at_s: float) -> bool:
            return abs(self.now_s - at_s) < step_s / 2

        if scenario.cut_off[1] and is_now(scenario.cut_off[0]):
            for person in self.people:
                if not (person.gone or person.through or person.away) and self.random.random() < scenario.cut_off[2]:
                    self._act("sleep", person)
                    self._later("wake", person, scenario.cut_off[1])
        if scenario.slow[1] and is_now(scenario.slow[0]):
            self.room.set_rate(int(self.token_us / scenario.slow[2]), self.now_us)
        if scenario.slow[1] and is_now(scenario.slow[0] + scenario.slow[1]):
            self.room.set_rate(self.token_us, self.now_us)
        if scenario.paused[1] and is_now(scenario.paused[0]):
            self.room.pause(self.now_us)
        if scenario.paused[1] and is_now(scenario.paused[0] + scenario.paused[1]):
            self.room.resume(self.now_us)

    def _later(self, kind: str, person: Person, after_s: float) -> None:
        self.acts[self.step + max(1, round(after_s * 1_000_000 / STEP_US))].append((kind, person))

    def _act(self, kind: str, person: Person) -> None:
        if person.gone or (kind != "leave" and (kind == "sleep") == person.away):
            return
        was_there = person.is_there
        if kind == "wake":
            person.away = False
            if not person.released_us:
                person.since_us, person.called_us = self.now_us, 0
            if not (person.released_us and person.was_there):
                self.asks[self.step].append(person)  # also for a pass that was given while nobody listened
        elif kind == "sleep":
            person.away = person.was_away = True
        else:
            person.gone = True
        self.there += person.is_there - was_there

    # The line

    def _arrive(self, count: int) -> None:
        for first in range(0, count, 64):
            worker = self.random.choice(self.workers)
            batch = [self.coming.pop() for _ in range(min(64, count - first))]
            answers = self.room.join([person.number.to_bytes(8, "big") for person in batch], self.now_us)
            for person, answer in zip(batch, answers, strict=True):
                assert isinstance(answer, Joined), answer
                assert answer.place == len(self.people)
                self._joined(person, answer, worker)

    def _joined(self, person: Person, answer: Joined, worker: Worker[Person]) -> None:
        scenario = self.scenario
        person.place, person.share, person.since_us = answer.place, share_of(answer.place), self.now_us
        self.people.append(person)
        self.there += person.is_there
        if answer.slot:
            self._booked(person, answer.slot, worker)
            return
        told = look(self.policy, worker.sign, person.place, self.now_us, person.share)
        if not person.never_knocks:
            person.impatient = self.random.random() < scenario.impatient
            person.throttled = self.random.random() < scenario.throttled
            lot = self.random.random()
            if lot < scenario.leave:
                self._later("leave", person, self.random.random() * told.p90_s)
            elif lot < scenario.leave + scenario.sleep:
                after_s = self.random.random() * told.p90_s
                self._later("sleep", person, after_s)
                self._later("wake", person, after_s + self.random.uniform(30.0, 300.0))
        else:
            self._later("leave", person, DRAIN_S * 2)  # the page is closed some day
        self._estimate(person, told.p50_s)
        self._ask_again(person, told.poll_after_s or 1.0)

    def _ask_again(self, person: Person, after_s: float) -> None:
        wanted_s = after_s / 5 if person.impatient else after_s
        step = self.step + max(1, -int(-wanted_s * 1_000_000 // STEP_US))
        if person.throttled:
            minute = 60_000_000 // STEP_US
            step += (person.number - step) % minute
        self.asks[step].append(person)

    def _estimate(self, person: Person, p50_s: float) -> None:
        if len(person.estimates) == (0 if self.now_s < 120 else len(person.estimates[:1])) and len(person.estimates) < 2:
            person.estimates.append((self.now_us, p50_s))

    def _ask(self, person: Person) -> None:
        """At home or on the way: looks, and knocks when called."""
        if person.away or person.gone:
            return
        index = self.random.randrange(len(self.workers))
        if index == 0 and _within(self.scenario.stalls, self.now_s):
            self.asks[self.step + 1].append(person)  # the request waits in the socket
            return
        worker = self.workers[index]
        if person.throttled and not person.through:
            person.since_us = self.now_us  # it was silent for longer than told
        told = look(self.policy, worker.sign, person.place, self.now_us, person.share)
        self.polls += 1
        if told.state != "called" or person.never_knocks:
            (worker.near if told.is_near else worker.far).append(person.place)
            if told.state == "waiting":
                person.called_us = 0
                self._estimate(person, told.p50_s)
            self._ask_again(person, told.poll_after_s or 2.0)
            return
        if not person.called_us:
            person.called_us = self.now_us
        if self._store_is_away():
            if not person.through:
                person.since_us, person.called_us = self.now_us, 0
            self._ask_again(person, 1.0 + person.share)
            return
        refusal_s = worker.doorman.refusal_s(worker.sign, person.place, self.now_us, person.share)
        if refusal_s:
            worker.near.append(person.place)
            self._ask_again(person, refusal_s)
            return
        worker.knocks.append((person.place, person))

    # A worker

    def _work(self, index: int, worker: Worker[Person]) -> None:
        if not self._store_is_away():
            if worker.knocks:
                self._knock(worker)
            ticks = (self.step + index) % TICK_STEPS == 0 and not (index == 0 and _within(self.scenario.no_ticks, self.now_s))
            if ticks and worker.tick(self.room, self.now_us):
                for person, after_s in worker.send_back(self.now_us):
                    self._ask_again(person, after_s)
        for person, due_us in worker.release(self.now_us, self.now_us + STEP_US):
            if not person.released_us:
                self._released(person, due_us)

    def _knock(self, worker: Worker[Person]) -> None:
        self.knocks += len(worker.knocks)
        for person, answer in worker.knock(self.room, self.now_us):
            if isinstance(answer, Slot):
                self._booked(person, answer, worker)
            else:
                self._ask_again(person, answer)

    def _booked(self, person: Person, slot: Slot, worker: Worker[Person]) -> None:
        if not person.through:
            self.there -= person.is_there
            person.through = True
        if slot.turn:
            worker.hold(slot.turn, person.place, person)
        else:
            assert person.released_us, person.place

    def _released(self, person: Person, at_us: int) -> None:
        person.released_us = at_us
        person.was_there = not (person.away or person.gone)
        self.order.append(person)


# What is judged


class Fenwick:
    """How many of the places below this have passed."""

    def __init__(self, size: int) -> None:
        self._tree = [0] * (size + 1)

    def add(self, place: int) -> None:
        """One more."""
        index = place + 1
        while index < len(self._tree):
            self._tree[index] += 1
            index += index & -index

    def below(self, place: int) -> int:
        """Of the places before this one."""
        count = 0
        while place:
            count += self._tree[place]
            place &= place - 1
        return count


def worst_overtaking(world: World) -> tuple[int, int]:
    """The most later places released between somebody's being there and their release: of who stayed, of who had been away."""
    order = sorted(world.order, key=lambda person: person.released_us)
    arrivals = sorted(order, key=lambda person: person.since_us)
    tree, counted, base = Fenwick(len(world.people)), 0, dict[int, int]()
    worst = [0, 0]
    for passed, person in enumerate(order):
        while counted < len(arrivals) and arrivals[counted].since_us <= person.released_us:
            early = arrivals[counted]
            base[early.place] = passed - tree.below(early.place)
            counted += 1
        if person.was_there:
            worst[person.was_away] = max(worst[person.was_away], passed - tree.below(person.place) - base[person.place])
        tree.add(person.place)
    return worst[0], worst[1]


def worst_window(times_us: Sequence[int], window_us: int) -> int:
    """The most releases in any window so long."""
    first = worst = 0
    for last, at_us in enumerate(times_us):
        while at_us - times_us[first] >= window_us:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


def kendall(world: World) -> str:
    """Order among those who came back together, by 20,000 pairs: 1 as by place, 0 none."""
    cut_off = world.scenario.cut_off
    back_us = START_US + round((cut_off[0] + cut_off[1]) * 1_000_000)
    returned = [person for person in world.order if person.since_us == back_us]
    if not cut_off[1] or len(returned) < 2:
        return "-"
    pairs = [world.random.sample(returned, 2) for _ in range(20_000)]
    agree = sum((one.place < other.place) == (one.released_us < other.released_us) for one, other in pairs)
    return f"{2 * agree / len(pairs) - 1:.2f}"


def errors(world: World, *, is_early: bool) -> list[float]:
    """Of p50, as a share of the wait, for who was there all the time."""
    found = []
    for person in world.order:
        for at_us, p50_s in person.estimates:
            wait_s = (person.released_us - at_us) / 1_000_000
            if (at_us - START_US < 120_000_000) == is_early and wait_s > 30 and not person.was_away:
                found.append(abs(p50_s - wait_s) / wait_s)
    return found


def row(world: World) -> Iterator[str]:
    """One line of the table."""
    rate = 1_000_000 / world.token_us
    times = sorted(person.released_us for person in world.order)
    burst = world.policy.burst_us / world.token_us + 1
    waits = [(person.released_us - person.called_us) / 1_000_000 for person in world.order if person.called_us and person.called_us <= person.released_us]
    late, early = errors(world, is_early=False), errors(world, is_early=True)
    yield f"{world.used / max(world.open_s, 1):.3f}"
    yield f"{world.knocks / len(times):.2f}"
    stayed, returned = worst_overtaking(world)
    yield f"{stayed / rate:.1f} {returned / rate:.1f}"
    yield f"{percentile(sorted(waits), 0.99):.1f}"
    yield f"{worst_window(times, 1_000_000) / (rate + burst):.3f}"
    yield f"{worst_window(times, 10_000_000) / (10 * rate + burst):.3f}"
    yield f"{percentile(sorted(late), 0.5):.0%} {percentile(sorted(late), 0.9):.0%}"
    yield f"{percentile(sorted(early), 0.5):.0%} {percentile(sorted(early), 0.9):.0%}"
    yield kendall(world)
    yield f"{len(times)}"
    yield f"{sum(not (person.gone or person.released_us) for person in world.people)}"


COLUMNS: Final = ("used", "knocks", "overtaken s", "called s", "1 s", "10 s", "p50 error", "early", "tau", "passes", "left over", "run s")


def table(names: Sequence[str], people: int, rate_per_s: float | None, workers: int, seed: int) -> int:
    """Print a line for each scenario, as soon as it is known; returns the exit code."""
    rate = rate_per_s or people / DRAIN_S
    print(f"{people} people, {rate:g}/s, {workers} workers; {PERSON} turns a person")
    print(f"{'scenario':10}" + "".join(f"{name:>12}" for name in COLUMNS))
    for scenario in SCENARIOS:
        if scenario.name in names:
            started = time.perf_counter()
            world = World(scenario, people, rate, workers, seed)
            world.run()
            cells = [*row(world), f"{time.perf_counter() - started:.0f}"]
            print(f"{scenario.name:10}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    return 0
