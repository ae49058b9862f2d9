"""Which law for core/pace.py?  A door, people who fill in a form, and a downstream that slows down; in virtual time.

    python -m loadtests.simulate.pace                          every law on every scenario, about fifteen seconds
    python -m loadtests.simulate.pace --only "feed-forward 30 s"    one law

The model, in steps of a second and in parts of people, without chance.  The line is never empty, so as
many pass as the door allows.  Of these 85 % complete the form; their times are spread log-normally (σ 0.4)
around the mean.  Sign-ups queue before a consumer with a capacity that changes; it commits every five
seconds, as clients do.  The laws see what `Meter` makes of such counters, and `next_pace` keeps them in bounds.

Columns: how much of what downstream could take it took, the worst lag and the last, changes of the rate
a minute, and the second in which downstream was first used to nine tenths.  All but the idle ones begin with the
rate that fits; those begin at the floor, and the meter knows what downstream takes, thinks it knows, or does not.
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from benchmarks.simulation import print_table
from gateway.core.pace import SECOND_US, Counts, Law, Meter, Orders, Pace, Policy, Reading, feed_forward, next_pace

ORDERS: Final = Orders(floor_per_s=10.0, ceiling_per_s=600.0)
COMPLETING: Final = 0.85
COMMIT_EVERY_S: Final = 5
SPREAD: Final = 0.4
SETTLE_S: Final = 1_200  # until the form's time is known and the lag stands as this law would have it


class Scenario(NamedTuple):
    """What downstream can take, and how long a form takes."""

    name: str
    form_s: int
    capacity: tuple[tuple[int, float], ...]  # (from_s, sign-ups a second)
    seconds: int
    from_s: int = SETTLE_S  # what is before that is not judged
    orders: Orders = ORDERS
    lag_target: int = Policy().lag_target
    is_idle: bool = False  # nobody has passed yet; else it begins with all in balance
    known_per_s: float = 0.0  # what the meter is told that downstream takes

    def at(self, now_s: int) -> float:
        """The capacity."""
        return [rate for from_s, rate in self.capacity if from_s <= now_s][-1]


FALL: Final = ((0, 200.0), (SETTLE_S, 80.0), (SETTLE_S + 180, 200.0))
STEPS: Final = ((0, 60.0), (SETTLE_S, 20.0), (SETTLE_S + 600, 100.0))
BENCH: Final = ((0, 60.0), (SETTLE_S + 180, 20.0), (SETTLE_S + 360, 100.0))  # part e of benchmarks/bench_line.py
SCENARIOS: Final = (
    *(Scenario(f"40 % for 3 min, form {form_s} s", form_s, FALL, SETTLE_S + 1_200) for form_s in (60, 180)),
    *(Scenario(f"40 % for good, form {form_s} s", form_s, FALL[:2], SETTLE_S + 1_200) for form_s in (60, 180)),
    Scenario("60, 20, 100/s, form 30 s", 30, STEPS, SETTLE_S + 1_500, orders=Orders(2.0, 300.0)),
    *(Scenario(f"the same, 3 min, target {target:,}", 30, BENCH, SETTLE_S + 540, orders=Orders(5.0, 200.0), lag_target=target) for target in (1_000, 200)),
    *(Scenario(f"idle, known {known:.0f}/s, form 60 s", 60, FALL[:1], 1_200, 0, is_idle=True, known_per_s=known) for known in (0.0, 100.0, 200.0, 400.0)),
)


# The laws compared


def aimd() -> Law:
    """Seven tenths above the target, else 2 % more, each second."""
    return lambda policy, reading, rate_per_s: rate_per_s * (0.7 if reading.lag > policy.lag_target else 1.02)


def of_consumption() -> Law:
    """waiting_room.md's: what is consumed now, and all of the lag's difference."""
    return lambda policy, reading, _: (reading.consumed_per_s + (policy.lag_target - reading.lag) / policy.horizon_s) / reading.signups_per_pass


def slow_trim(takes: Callable[[Reading], float]) -> Callable[[], Law]:
    """A factor in 0.5…1.1, set each 30 s: a tenth more where nothing waits, none at the target, half at six targets."""

    def made() -> Law:
        trim, set_us = 1.0, -30 * SECOND_US

        def law(policy: Policy, reading: Reading, _rate_per_s: float) -> float:
            nonlocal trim, set_us
            if reading.at_us - set_us >= 30 * SECOND_US:
                trim, set_us = min(max(1.1 - 0.1 * reading.lag / policy.lag_target, 0.5), 1.1), reading.at_us
            return takes(reading) * trim / reading.signups_per_pass

        return law

    return made


def of_takes() -> Law:
    """What downstream is known to take, and the lag's difference; nothing of those on their way."""
    return lambda policy, reading, rate_per_s: feed_forward(policy, reading._replace(form_s=0.0, on_way=0.0), rate_per_s)


def ours() -> Law:
    """core/pace.py's: it counts those on their way too."""
    return feed_forward


LAWS: Final[dict[str, tuple[Callable[[], Law], float]]] = {
    "aimd": (aimd, 60.0),
    "consumption 30 s": (of_consumption, 30.0),
    "consumption 60 s": (of_consumption, 60.0),
    "consumption 120 s": (of_consumption, 120.0),
    "slow trim": (slow_trim(lambda reading: reading.consumed_per_s), 60.0),
    "slow trim of takes": (slow_trim(lambda reading: reading.takes_per_s), 60.0),
    "takes 60 s": (of_takes, 60.0),
    "takes 120 s": (of_takes, 120.0),
    "feed-forward 30 s": (ours, 30.0),
    "feed-forward 60 s": (ours, 60.0),
    "feed-forward 120 s": (ours, 120.0),
}
"""Name → the law, its horizon.  The one that was chosen is `feed-forward 30 s`."""


# The world


class Second(NamedTuple):
    """What a second was like."""

    now_s: int
    could: float
    took: float
    lag: float
    pace: Pace
    reading: Reading | None


def form_times(mean_s: int) -> list[float]:
    """How many of those who complete do so in their first, second, third … second."""
    mu = math.log(mean_s) - SPREAD**2 / 2
    until = [0.0, *(0.5 * (1 + math.erf((math.log(s) - mu) / (SPREAD * math.sqrt(2)))) for s in range(1, mean_s * 5))]
    return [(later - sooner) / until[-1] for sooner, later in pairwise(until)]


def live(scenario: Scenario, law: Law, policy: Policy) -> Iterator[Second]:
    """Second by second."""
    shares = form_times(scenario.form_s)
    orders, balance_per_s = scenario.orders, 0.0 if scenario.is_idle else scenario.at(0) / COMPLETING
    meter, pace = Meter(1.0 if scenario.is_idle else COMPLETING, scenario.known_per_s or balance_per_s * COMPLETING), Pace.opening(orders.floor_per_s, 0)
    pace = pace._replace(rate_per_s=orders.kept(balance_per_s))
    passed = deque([balance_per_s] * len(shares), maxlen=len(shares))
    passes = consumed = committed = form_s = 0.0
    produced = float(policy.lag_target) * (not scenario.is_idle)
    for now_s in range(scenario.seconds):
        passed.appendleft(pace.rate_per_s)
        passes += pace.rate_per_s
        signups = [COMPLETING * people * share for people, share in zip(passed, shares, strict=True)]
        produced += sum(signups)
        form_s += sum(seconds * people for seconds, people in enumerate(signups))
        could = scenario.at(now_s)
        took = min(could, produced - consumed)
        consumed += took
        if now_s % COMMIT_EVERY_S == 0:
            committed = consumed
        now_us = now_s * SECOND_US
        reading = meter.saw(Counts(now_us, int(produced), int(committed), int(passes), int(produced), int(form_s)))
        pace = next_pace(policy, orders, pace, now_us, reading, acks_stopped=False, sheds=False, law=law)
        yield Second(now_s, could, took, produced - consumed, pace, reading)


class Row(NamedTuple):
    """One law on one scenario."""

    used: float
    lag_worst: float
    lag_end: float
    changes_per_min: float
    used_nine_tenths_s: float  # infinite where it never was


def simulate(name: str, scenario: Scenario) -> Row:
    """Run one law on one scenario."""
    law, horizon_s = LAWS[name]
    policy = Policy(lag_target=scenario.lag_target, horizon_s=horizon_s, change_min=0.0 if name == "aimd" else Policy().change_min)
    return judge(scenario, list(live(scenario, law(), policy)))


def judge(scenario: Scenario, seconds: Sequence[Second]) -> Row:
    """What is printed."""
    judged = seconds[scenario.from_s :]
    rates = [second.pace.rate_per_s for second in judged]
    return Row(
        used=sum(second.took for second in judged) / sum(second.could for second in judged),
        lag_worst=max(second.lag for second in judged),
        lag_end=judged[-1].lag,
        changes_per_min=60 * sum(before != after for before, after in pairwise(rates)) / len(rates),
        used_nine_tenths_s=next((second.now_s for second in judged if second.took >= 0.9 * second.could), math.inf),
    )


def lines(names: Sequence[str], scenarios: Sequence[Scenario]) -> Iterator[str]:
    """The table, a line as soon as it is known."""
    for scenario in scenarios:
        yield f"{scenario.name:28} {'used':>5} {'worst':>7} {'end':>7} {'changes/min':>12} {'nine tenths':>12}"
        for name in names:
            row = simulate(name, scenario)
            yield f"  {name:26} {row.used:5.2f} {row.lag_worst:7,.0f} {row.lag_end:7,.0f} {row.changes_per_min:12.0f} {row.used_nine_tenths_s:10.0f} s"


def main() -> int:
    """Print the table."""
    return print_table("Laws of core/pace.py", LAWS, SCENARIOS, lines)


if __name__ == "__main__":
    sys.exit(main())
