"""A rehearsal's scenario: what a TOML file may say, and what follows from it.  Read, checked and written by scenario_file.py.

    [scale]       one of so many people is sent, and their arrivals come so many times faster
    [gateway]     how many workers, and settings beside the shipped gateway.toml
    [downstream]  what consumes the sign-ups, and where it becomes slower
    [[streams]]   who comes: their kind, their shape (arrivals), their manners
    [[phases]]    names for parts of the time
    [[faults]]    what is paused, killed or restarted, and when
    [[slo]]       a metric of slo.py in a phase, and its bound

Times are seconds of the rehearsal's clock, from the first second of arrivals, but for `shape`, `burst` and
`times`, which are as the real day has them: people and seconds before [scale].
The same file and seed mean the same arrivals, byte for byte.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

WHOLE: Final = "all"  # a phase's name that needs no phase
SEED_MAX: Final = 2**32 - 1
STREAMS_MAX: Final = 255  # a recording numbers them in a byte

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
PerSecond = Annotated[float, Meta(ge=0, le=1_000_000)]
Factor = Annotated[float, Meta(ge=1e-6, le=1e9)]

Kind = Literal["applicant", "sync", "stranger", "forger"]
"""applicant: joins the line, waits, knocks, signs up (without a room: signs up at once); sync: one request of a member's
steps; stranger: a sign-up without a pass; forger: a sync with a token of another's key."""

Fault = Literal[
    "redis.pause",  # SIGSTOP; SIGCONT after for_s
    "redis.kill",  # SIGKILL; started again after for_s
    "redis.fail_over",  # to a replica that has lost the last `lose_ms`
    "redis.empty",
    "kafka.pause",
    "kafka.kill",
    "worker.kill",  # SIGKILL to one worker of the gateway, in turn
    "worker.pause",  # SIGSTOP to one; SIGCONT after for_s
]


class ScenarioError(Exception):
    """Exit code 2: what is wrong, and in which file."""


class Scale(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a city's day fits a machine."""

    people: Factor = 1.0  # one of so many is sent
    clock: Factor = 1.0  # arrivals come so many times faster; timers and human delays stay


class Segment(Struct, frozen=True, array_like=True):
    """A part of a shape: the rate goes in a straight line from its first to its last."""

    seconds: Annotated[float, Meta(gt=0)]
    from_per_s: PerSecond
    to_per_s: PerSecond


class Burst(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """People whose clocks say the same: at once, or spread evenly over a jitter.  Their own jitter is not compressed by [scale]."""

    people: Annotated[int, Meta(ge=1, le=10**12)]
    at_s: Seconds = 0.0  # of the rehearsal's clock
    jitter_s: Seconds = 0.0


class Manners(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What shares of the people do besides obeying `poll_after_s` and Retry-After; the rest obeys."""

    impatient: Share = 0.0  # ask every two seconds, whatever they are told
    leaves: Share = 0.0  # give up within the time `within_s`, without a word
    sleeps: Share = 0.0  # are away for `sleep_s` within that time, and come back
    tabs: Share = 0.0  # have three tabs open: one join id, three that ask
    blind: Share = 0.0  # send the same again at once when they are refused, up to `blind_tries`
    within_s: Seconds = 60.0
    sleep_s: tuple[Seconds, Seconds] = (5.0, 30.0)
    blind_tries: Annotated[int, Meta(ge=1, le=100)] = 10
    tries: Annotated[int, Meta(ge=1, le=100)] = 1  # of a sync or sign-up that is told to come again: who obeys does, so often in all
    form_s: Seconds = 10.0  # between pass and sign-up, on average (log-normal, σ 0.4)


class Stream(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One kind of arrivals."""

    name: Name
    kind: Kind
    shape: list[Segment] = []
    bursts: list[Burst] = []
    times: str = ""  # a file beside the scenario: one instant a line, of the rehearsal's clock, sent as given
    manners: Manners = Manners()
    members: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000  # syncs: how many people send them, in turn
    samples: Annotated[int, Meta(ge=1, le=200)] = 1  # syncs: of each request
    days_back: Annotated[int, Meta(ge=0, le=30)] = 0  # syncs: of the first sample; the next one's day is the one after


class Phase(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the time."""

    name: Name
    from_s: Seconds
    to_s: Seconds


class Planned(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fault, `times` times, `every_s` apart."""

    what: Fault
    at_s: Seconds
    for_s: Seconds = 0.0
    times: Annotated[int, Meta(ge=1, le=1_000)] = 1
    every_s: Seconds = 0.0
    lose_ms: Annotated[int, Meta(ge=0, le=60_000)] = 1_000

    def instants_s(self) -> Iterator[float]:
        """When it happens."""
        return (self.at_s + number * self.every_s for number in range(self.times))


class Slo(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A bound."""

    metric: str
    at_most: float | None = None
    at_least: float | None = None
    phase: str = WHOLE

    def holds(self, measured: float) -> bool:
        """NaN, which is what nobody measured, holds no bound."""
        return (self.at_most is None or measured <= self.at_most) and (self.at_least is None or measured >= self.at_least)


class Downstream(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A consumer of sign-ups that becomes slower the more waits for it (usl.py)."""

    per_s: Annotated[float, Meta(gt=0, le=100_000)]  # at the knee, its most
    knee: Annotated[float, Meta(gt=1, le=10_000_000)]  # sign-ups waiting at which it is quickest; infinite patience below
    contention: Share = 0.02  # σ of the universal scalability law, per unit of the knee: 0 rises in a straight line


class Gateway(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is rehearsed, where it is ours to start."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    settings: dict[str, Any] = {}  # tables of gateway.toml; the room's consumer group, epoch and topic are the rehearsal's
    records_per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0  # all workers together get so many acknowledged, and no more; 0: what Kafka takes
    loses_one: bool = False  # acknowledges one event that it never sends.  A self-test: the ledgers must say so


class Scenario(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rehearsal, whole."""

    title: str
    why: str
    seed: Annotated[int, Meta(ge=0, le=SEED_MAX)]
    streams: Annotated[list[Stream], Meta(min_length=1, max_length=STREAMS_MAX)]
    slo: Annotated[list[Slo], Meta(min_length=1)]
    name: str = ""  # the file's
    seconds: Annotated[float, Meta(gt=0, le=86_400)] = 60.0  # of arrivals
    drain_s: Seconds = 30.0  # then at most so long until everybody is through
    expect: Literal["pass", "missed"] = "pass"  # what `make rehearse-all` wants: some show what happens without the product
    beside: str = ""  # another scenario, which runs first and is shown side by side
    scale: Scale = Scale()
    gateway: Gateway = Gateway()
    downstream: Downstream | None = None
    phases: list[Phase] = []
    faults: list[Planned] = []

    @property
    def has_room(self) -> bool:
        """Whether there is a line."""
        return bool(self.gateway.settings.get("room", {}).get("name"))

    def within(self, phase: str) -> tuple[float, float]:
        """(from, to) in seconds; the whole lasts to the end of what is drained."""
        if phase == WHOLE:
            return 0.0, self.seconds + self.drain_s
        found = next(one for one in self.phases if one.name == phase)
        return found.from_s, found.to_s


def with_seed(scenario: Scenario, seed: int) -> Scenario:
    """The same day with other dice.  Raises ScenarioError: there are no such."""
    if not 0 <= seed <= SEED_MAX:
        raise ScenarioError(f"seed {seed}: want 0 to {SEED_MAX}")
    return msgspec.structs.replace(scenario, seed=seed)


def with_room(scenario: Scenario, name: str) -> Scenario:
    """The same day before a line of another name.  Raises ScenarioError: it has none."""
    if not scenario.has_room:
        raise ScenarioError(f"{scenario.name} has no line: there is no room to name {name!r}")
    settings = scenario.gateway.settings
    renamed = settings | {"room": settings["room"] | {"name": name}}
    return msgspec.structs.replace(scenario, gateway=msgspec.structs.replace(scenario.gateway, settings=renamed))


def expected(scenario: Scenario) -> float:
    """How many arrivals are drawn, on average.  Whole paths only (`load`).  Raises ScenarioError: a file of times cannot be read."""
    scale, shapes = scenario.scale, [segment for stream in scenario.streams for segment in stream.shape]
    drawn = sum(segment.seconds * (segment.from_per_s + segment.to_per_s) / 2 for segment in shapes) / scale.people
    bursts = sum(burst.people for stream in scenario.streams for burst in stream.bursts) / scale.people
    return drawn + bursts + sum(len(instants(Path(stream.times))) for stream in scenario.streams if stream.times)


def instants(path: Path) -> np.ndarray:
    """What a file of times says.  Raises ScenarioError: it is none."""
    try:
        found = np.array([float(line) for line in path.read_text(encoding="ascii").split()], np.float64)
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path}: want one instant a line, in seconds: {error}") from None
    wrong = found[~((found >= 0) & np.isfinite(found))]
    if len(wrong):
        raise ScenarioError(f"{path}: want one instant a line, in seconds from 0 on, not {wrong[0]:g}")
    return found
