"""Which controller for core/overload.py?  A store, two workers and phones in virtual time; no Kafka.

    python -m benchmarks.simulate_overload                 every controller on every scenario, about three minutes
    python -m benchmarks.simulate_overload --only target   one controller

The model.  Phones arrive at random and come back after Retry-After, three times at most.  A worker
has one core: what waits for it is the loop's lag.  Its records leave in batches, one in flight, the next
fills meanwhile.  The store is one line for both workers with a capacity that changes, and may pause.
An answer counts when it is a 202 within the deadline of 5 s.

Columns: goodput as a share of what the store could take (or of what was offered, where that is less), waits of the
accepted in ms, how many were lost (their time was up), how many sign-up attempts succeeded, and
how long after the last change of capacity goodput was back at nine tenths.
"""

import heapq
import math
import random
import sys
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from benchmarks.simulation import print_table
from gateway.core import admission
from gateway.core.overload import Controller, End, Learn, Policy, Rank, Window, next_limit, sheds_backfill

DEADLINE_S: Final = 5.0
BATCH_MAX: Final = 500
TRIES_MAX: Final = 3
REFUSE_S, SERVE_S, ACK_S = 60e-6, 200e-6, 20e-6  # CPU of one request; of bench_path, about
LAG_EVERY_S: Final = 0.1
BACKFILL_SHARE: Final = 0.3  # of the syncs: nothing in them but older days


class Steps(NamedTuple):
    """A number that changes with time: (from_s, value), the first from 0."""

    steps: tuple[tuple[float, float], ...]

    def at(self, now_s: float) -> float:
        return self.steps[bisect_right(self.steps, (now_s, math.inf)) - 1][1]

    def reached(self, start_s: float, amount: float) -> float:
        """When so much has gone by since `start_s` at this rate."""
        now_s = start_s
        for (from_s, rate), (to_s, _) in zip(self.steps, [*self.steps[1:], (math.inf, 0.0)], strict=True):
            if to_s <= now_s:
                continue
            now_s = max(now_s, from_s)
            if rate and now_s + amount / rate <= to_s:
                return now_s + amount / rate
            amount -= rate * (to_s - now_s) if rate else 0.0
            now_s = to_s
        return math.inf

    def amount(self, from_s: float, to_s: float) -> float:
        """How much goes by between two instants."""
        edges = sorted({from_s, to_s, *(at_s for at_s, _ in self.steps if from_s < at_s < to_s)})
        return sum((right - left) * self.at(left) for left, right in pairwise(edges))


class Scenario(NamedTuple):
    """What the store can, and what comes."""

    name: str
    capacity: Steps  # records a second
    offered: Steps  # first attempts a second, all ranks
    seconds: float = 30.0
    round_trip_s: float = 0.003
    from_s: float = 5.0  # what is before that is not judged
    changed_s: float = 0.0  # from then on recovery is timed
    could_per_s: float = math.inf  # where something else is the bottleneck


def even(value: float) -> Steps:
    """No change."""
    return Steps(((0.0, value),))


def with_pauses(rate: float, every_s: float, seconds: float, pause_s: float = 0.5) -> Steps:
    """A store that stands still now and then."""
    starts = [every_s * count for count in range(1, int(seconds / every_s) + 1)]
    return Steps(((0.0, rate), *(step for at_s in starts for step in ((at_s, 0.0), (at_s + pause_s, rate)))))


CHANGING: Final = Steps(((0.0, 100.0), (12.0, 1_000.0), (24.0, 100.0), (36.0, 1_000.0)))
SCENARIOS: Final = (
    *(Scenario(f"100/s, {times}x", even(100.0), even(100.0 * times)) for times in (1, 2, 5, 10, 50)),
    Scenario("1000/s, 2x", even(1_000.0), even(2_000.0)),
    Scenario("10/s, 5x", even(10.0), even(50.0), seconds=60.0, from_s=20.0),
    Scenario("100/s for 5 min, 5x", even(100.0), even(500.0), seconds=300.0, from_s=200.0),
    Scenario("100-1000-100-1000/s, 1500/s", CHANGING, even(1_500.0), seconds=46.0, changed_s=36.0),
    Scenario("drop to 100/s at 900/s", Steps(((0.0, 1_000.0), (10.0, 100.0), (25.0, 1_000.0))), even(900.0), seconds=40.0, changed_s=25.0),
    Scenario("1000/s with pauses, 0.7x", with_pauses(1_000.0, 4.0, 30.0), even(700.0)),
    Scenario("100/s with pauses, 5x", with_pauses(100.0, 4.0, 30.0), even(500.0)),
    Scenario("fast, 3000/s", even(50_000.0), even(3_000.0)),
    Scenario("fast with pauses, 3000/s", with_pauses(50_000.0, 4.0, 30.0), even(3_000.0)),
    Scenario("wide but 300 ms, 2000/s", even(50_000.0), even(2_000.0), round_trip_s=0.3, from_s=12.0),
    Scenario("idle 20 s, then 100/s, 10x", even(100.0), Steps(((0.0, 5.0), (20.0, 1_000.0))), seconds=40.0, from_s=20.0),
    Scenario("CPU, 10000/s", even(50_000.0), even(10_000.0), seconds=12.0, from_s=3.0, could_per_s=8_000.0),
)


# The controllers compared


def unlimited(_policy: Policy, _limit: float, _target_s: float, _window: Window) -> float:
    """What happens without one."""
    return math.inf


def aimd() -> Learn:
    """concurrency-limits' AIMDLimit: one more per round trip, nine tenths when the wait is above the timeout."""

    def learn(_policy: Policy, limit: float, _target_s: float, window: Window) -> float:
        if window.is_slow:
            return limit * 0.9
        return limit + window.samples / limit if window.peak * 2 >= limit else limit

    return learn


def gradient() -> Learn:
    """concurrency-limits' Gradient2Limit: the long average of the wait over the short, tolerance 1.5, queue 4, smoothing 0.2."""
    long_s = 0.0

    def learn(_policy: Policy, limit: float, _target_s: float, window: Window) -> float:
        nonlocal long_s
        if not window.answered:
            return limit * 0.5 if window.samples else limit
        short_s = window.latency_sum_s / window.answered
        long_s = long_s + (short_s - long_s) * 2 / 601 if long_s else short_s
        if long_s / short_s > 2:
            long_s *= 0.95
        if window.peak < limit / 2:
            return limit
        slope = max(0.5, min(1.0, 1.5 * long_s / short_s))
        return limit * 0.8 + (limit * slope + 4) * 0.2

    return learn


def vegas() -> Learn:
    """concurrency-limits' VegasLimit: the queue is limit × (1 - quickest ÷ now); the quickest is asked anew every 300 windows."""
    quickest_s, windows = math.inf, 0

    def learn(_policy: Policy, limit: float, _target_s: float, window: Window) -> float:
        nonlocal quickest_s, windows
        if not window.answered:
            return limit * 0.5 if window.samples else limit
        now_s = window.latency_sum_s / window.answered
        windows += 1
        if now_s < quickest_s or windows % 300 == 0:
            quickest_s = now_s
            return limit
        if window.peak < limit / 2:
            return limit
        step = max(math.log10(limit), 1.0)
        queue = math.ceil(limit * (1 - quickest_s / now_s))
        if queue <= step:
            return limit + 6 * step
        return limit + step if queue < 3 * step else limit - step if queue > 6 * step else limit

    return learn


NETFLIX: Final = Policy(window_s=0.1)  # they learn more often, in smaller steps
CONTROLLERS: Final[dict[str, tuple[Policy, Callable[[], Learn]]]] = {
    "none": (Policy(limit_start=1e9, limit_max=1e9), lambda: unlimited),
    "gradient": (NETFLIX, gradient),
    "vegas": (NETFLIX, vegas),
    "aimd": (NETFLIX, aimd),
    "target": (Policy(), lambda: next_limit),
}


# The world


@dataclass(slots=True, eq=False)
class Request:
    """One attempt of one person."""

    rank: Rank
    share: float
    is_backfill: bool
    tries: int = 1
    admitted_s: float = 0.0
    is_done: bool = False


@dataclass
class Seen:
    """What is judged."""

    acks_s: list[float] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    limits: list[int] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)


class Worker:
    """One core, one controller, one batch in flight."""

    def __init__(self, world: "World", controller: Controller) -> None:
        self.world = world
        self.controller = controller
        self.inbox: deque[Callable[[float], float]] = deque()
        self.is_busy = False
        self.queue: deque[Request] = deque()
        self.is_sending = False
        self.drained_per_s = 0.0
        self.drained = self.refused = 0

    def take(self, work: Callable[[float], float]) -> None:
        """Do this when the core is free; it returns how long it takes."""
        self.inbox.append(work)
        if not self.is_busy:
            self.is_busy = True
            self.turn(self.world.now_s)

    def turn(self, now_s: float) -> None:
        if self.inbox:
            self.world.at(now_s + self.inbox.popleft()(now_s), self.turn)
        else:
            self.is_busy = False

    def serve(self, request: Request, now_s: float) -> float:
        """Admit or refuse; returns the CPU it cost."""
        controller, counts = self.controller, self.world.counts
        counts[f"{request.rank.name} came"] += 1
        if not controller.is_admitted(request.rank, request.share, now_s):
            counts[f"{request.rank.name} refused"] += 1
            self.refuse(request, now_s)
            return REFUSE_S
        controller.admitted()
        if request.is_backfill and sheds_backfill(controller.pressure, 3):
            counts["backfill shed"] += 1
            controller.finished(now_s, 0.0, End.IGNORED)
            self.refuse(request, now_s)
            return SERVE_S
        if request.rank is Rank.JOIN:
            self.world.at(now_s + 0.005, lambda at_s: controller.finished(at_s, 0.005, End.IGNORED))
            return SERVE_S
        request.admitted_s, request.is_done = now_s, False
        self.queue.append(request)
        self.world.at(now_s + DEADLINE_S, lambda at_s: self.time_is_up(request, at_s))
        if not self.is_sending:
            self.is_sending = True
            self.world.at(now_s + 0.002, self.send)
        return SERVE_S

    def refuse(self, request: Request, now_s: float) -> None:
        self.refused += 1
        if request.tries < TRIES_MAX:
            request.tries += 1
            load = admission.Load(self.controller.in_flight, self.drained_per_s, self.refused)
            wait_s = admission.retry_after_s("overloaded", load, self.world.random.random())
            self.world.at(now_s + wait_s, lambda _: self.world.arrive(request))

    def time_is_up(self, request: Request, now_s: float) -> None:
        if not request.is_done:
            request.is_done = True
            self.world.counts["lost"] += 1
            self.controller.finished(now_s, DEADLINE_S, End.LOST)
            self.refuse(request, now_s)

    def send(self, _now_s: float) -> None:
        batch: list[Request] = []
        while self.queue and len(batch) < BATCH_MAX:
            request = self.queue.popleft()
            if not request.is_done:
                batch.append(request)
        self.is_sending = bool(batch)
        if batch:
            self.world.at(self.world.stored_at(len(batch)), lambda _: self.take(lambda at_s: self.acked(batch, at_s)))

    def acked(self, batch: Sequence[Request], now_s: float) -> float:
        for request in batch:
            if not request.is_done:
                request.is_done = True
                wait_s = now_s - request.admitted_s
                self.drained += 1
                self.controller.finished(now_s, wait_s, End.ANSWERED)
                self.world.acked(request, wait_s)
        self.send(now_s)
        return ACK_S * len(batch)

    def look(self, now_s: float) -> None:
        """Ten times a second: how late is the loop?"""

        def arrived(at_s: float) -> float:
            self.controller.lagged(at_s, at_s - now_s)
            self.world.looked(self.controller.limit, at_s - now_s)
            return 0.0

        self.take(arrived)
        if int(now_s) != int(now_s - LAG_EVERY_S):
            self.drained_per_s += 0.3 * (self.drained - self.drained_per_s)
            self.drained = self.refused = 0
        self.world.at(now_s + LAG_EVERY_S, self.look)


class World:
    """One run."""

    def __init__(self, scenario: Scenario, controllers: Sequence[Controller], seed: int = 1) -> None:
        self.scenario = scenario
        self.random = random.Random(seed)
        self.capacity_min = min(rate for _, rate in scenario.capacity.steps if rate)
        self.now_s = 0.0
        self.store_free_s = 0.0
        self.seen = Seen()
        self.events: list[tuple[float, int, Callable[[float], object]]] = []
        self.numbers = iter(range(10**12))
        self.workers = [Worker(self, controller) for controller in controllers]
        for worker in self.workers:
            self.at(0.0, worker.look)
        self.at(0.0, self.come)

    @property
    def counts(self) -> Counter[str]:
        """Where things are counted now: nowhere before the judged time."""
        return self.seen.counts if self.now_s >= self.scenario.from_s else Counter()

    def at(self, at_s: float, event: Callable[[float], object]) -> None:
        if at_s < self.scenario.seconds:
            heapq.heappush(self.events, (at_s, next(self.numbers), event))

    def run(self) -> Seen:
        while self.events:
            self.now_s, _, event = heapq.heappop(self.events)
            event(self.now_s)
        return self.seen

    def come(self, now_s: float) -> None:
        """One person, and when the next one is due."""
        offered, capacity = self.scenario.offered.at(now_s), self.capacity_min
        # Sign-ups and joins are no more than the door lets in: a fifth of what the store takes, not of the crowd.
        important = min(0.2 * offered, 0.2 * capacity) / offered
        draw = self.random.random()
        rank = Rank.SIGNUP if draw < important else Rank.JOIN if draw < 1.5 * important else Rank.SYNC
        is_backfill = rank is Rank.SYNC and self.random.random() < BACKFILL_SHARE
        self.arrive(Request(rank, self.random.random(), is_backfill))
        self.at(now_s + self.random.expovariate(offered), self.come)

    def arrive(self, request: Request) -> None:
        worker = self.random.choice(self.workers)
        worker.take(lambda at_s: worker.serve(request, at_s))

    def stored_at(self, records: int) -> float:
        """When a batch that is sent now has been acknowledged: one line for all."""
        self.store_free_s = self.scenario.capacity.reached(max(self.now_s, self.store_free_s), records)
        return self.store_free_s + self.scenario.round_trip_s

    def acked(self, request: Request, wait_s: float) -> None:
        if self.now_s >= self.scenario.from_s:
            self.seen.acks_s.append(self.now_s)
            self.seen.waits_s.append(wait_s)
            self.seen.counts[f"{request.rank.name} acked"] += 1

    def looked(self, limit: int, lag_s: float) -> None:
        if self.now_s >= self.scenario.from_s:
            self.seen.limits.append(limit)
            self.seen.lags_s.append(lag_s)


class Row(NamedTuple):
    """One controller on one scenario."""

    goodput: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    lost: int
    signups: float  # of the attempts
    back_s: float  # NaN where nothing changes
    limit: str
    lag_p99_ms: float


def simulate(name: str, scenario: Scenario, seed: int = 1) -> Row:
    """Run one controller on one scenario."""
    policy, learner = CONTROLLERS[name]
    world = World(scenario, [Controller(policy, 0.0, learner()) for _ in range(2)], seed)
    return judge(scenario, world.run())


def judge(scenario: Scenario, seen: Seen) -> Row:
    """What is printed."""
    waits_s, counts = sorted(seen.waits_s), seen.counts
    from_s, to_s = scenario.from_s, scenario.seconds
    could = min(scenario.capacity.amount(from_s, to_s), 0.9 * scenario.offered.amount(from_s, to_s), scenario.could_per_s * (to_s - from_s))
    limits = sorted(seen.limits)
    return Row(
        goodput=len(waits_s) / could,
        p50_ms=quantile(waits_s, 0.5) * 1000,
        p99_ms=quantile(waits_s, 0.99) * 1000,
        max_ms=quantile(waits_s, 1) * 1000,
        lost=counts["lost"],
        # Who came in the last moments has no answer yet.
        signups=1 - counts["SIGNUP refused"] / max(counts["SIGNUP came"], 1),
        back_s=back_after(scenario, seen.acks_s),
        limit=f"{limits[0]}-{quantile(limits, 0.5):.0f}-{limits[-1]}",
        lag_p99_ms=quantile(sorted(seen.lags_s), 0.99) * 1000,
    )


def back_after(scenario: Scenario, acks_s: Sequence[float]) -> float:
    """Seconds from the last change until a whole second has nine tenths of what it could."""
    if not scenario.changed_s:
        return math.nan
    could = min(scenario.capacity.at(scenario.changed_s), scenario.offered.at(scenario.changed_s) * 0.9)
    for tenths in range(int((scenario.seconds - scenario.changed_s - 1) * 10)):
        from_s = scenario.changed_s + tenths / 10
        if sum(from_s <= at_s < from_s + 1 for at_s in acks_s) >= 0.9 * could:
            return tenths / 10
    return math.inf


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted numbers; NaN of none."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else math.nan


def lines(names: Sequence[str], scenarios: Sequence[Scenario]) -> Iterator[str]:
    """The table, a line as soon as it is known."""
    yield f"{'scenario':28} {'controller':9} {'goodput':>7} {'p50':>6} {'p99':>6} {'max':>6} {'lost':>6} {'signups':>8} {'back_s':>6} {'lag_p99':>7}  limit"
    for scenario in scenarios:
        for name in names:
            row = simulate(name, scenario)
            yield (
                f"{scenario.name:28} {name:9} {row.goodput:7.2f} {row.p50_ms:6.0f} {row.p99_ms:6.0f} {row.max_ms:6.0f} {row.lost:6d} "
                f"{row.signups:8.3f} {row.back_s:6.1f} {row.lag_p99_ms:7.0f}  {row.limit}"
            )


def main() -> int:
    """Print the table."""
    return print_table("Controllers of core/overload.py", CONTROLLERS, SCENARIOS, lines)


if __name__ == "__main__":
    sys.exit(main())
