"""A scenario file, made ready for virtual time: which people, how many, and what cannot be played there.

Pure.  Decided here: who arrives when and with which manners, how a scenario grows to a million people, what is
refused.  Not decided here: what becomes of them (front.py).

To grow to `people` is to multiply by one factor everything that stands for the size of the city: who arrives, the
members, the door's floor and ceiling and what it knows of downstream, the downstream and its knee, what Kafka takes.  The clock
and the timers stay.  So do the buckets of users, addresses and passes: a person is a person in any city.  Those of routes
and of all together are shipped for a whole city at its own pace; where arrivals come so many times as fast ([scale] clock),
they give as many times as much.
"""

from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.config import Config, Limits
from loadtests.crowd import shapes
from loadtests.scenario import Gateway, Planned, Scenario, ScenarioError, Stream

NEVER_S: Final = 1e12
ARRIVALS_MAX: Final = 5_000_000  # 250 bytes each
WORKERS_GROWN: Final = 16  # processes of a fleet for a million: the shipped fleet_workers_max
FORM_SPREAD: Final = 0.4  # σ of the log-normal time for a form
TOKENS_MAX, BURST_MAX = 100_000, 1_000_000  # of a setting (gateway/config.py)
DOOR_PER_S_MAX: Final = 10_000.0  # no room has a wider ceiling (gateway.toml)
PLAYED: Final = frozenset({"redis.pause", "redis.kill", "kafka.pause", "kafka.kill"})
GROWN_SETTINGS: Final = ("floor_per_s", "ceiling_per_s", "takes_per_s", "lag_target", "poll_budget_per_s")


class State(IntEnum):
    """What somebody does next."""

    JOIN = 0
    LINE = 1
    HELD = 2  # booked: a worker holds the answer until the turn
    FORM = 3
    SYNC = 4
    STRANGER = 5
    FORGER = 6
    DONE = 7  # accepted
    LEFT = 8
    REFUSED = 9  # for good, or no tries left


class People(NamedTuple):
    """Everybody who comes, by the instant they are meant to.  Columns, one row a person or a sync."""

    stream: NDArray[np.int16]
    state: NDArray[np.int8]
    meant_s: NDArray[np.float64]
    leave_s: NDArray[np.float64]  # from then on they are not there
    sleep_s: NDArray[np.float64]  # from then ..
    wake_s: NDArray[np.float64]  # .. until then neither
    form_s: NDArray[np.float64]
    share: NDArray[np.float64]  # their place in the rank, for overload
    member: NDArray[np.int64]  # of a sync: who sends it; else -1
    impatient: NDArray[np.bool_]
    tabs: NDArray[np.bool_]
    blind: NDArray[np.bool_]


class Plan(NamedTuple):
    """A scenario that can be played."""

    scenario: Scenario
    config: Config
    people: People
    grown: float  # times as many people as the file says
    meant_sha256: str


def plan(scenario: Scenario, people: int | None = None, workers: int | None = None) -> Plan:
    """Make it ready.

    Raises:
        ScenarioError: a fault or a setting that has no meaning here, or more people than fit.
    """
    _refuse(scenario)
    arrivals, factor = shapes.meant(scenario), 1.0
    count = people_of(scenario, arrivals)
    if count == 0:
        raise ScenarioError(f"{scenario.name}: nobody comes")
    if people is not None and people != count:
        factor = people / count
        scenario = grown(scenario, factor, workers)
        arrivals = shapes.meant(scenario)
    elif workers is not None:
        scenario = msgspec.structs.replace(scenario, gateway=msgspec.structs.replace(scenario.gateway, workers=workers))
    count = len(arrivals)
    if count > ARRIVALS_MAX:
        raise ScenarioError(f"{scenario.name}: {count:,} arrivals: want at most {ARRIVALS_MAX:,}")
    try:
        config = msgspec.convert(scenario.gateway.settings, Config)
    except msgspec.ValidationError as exc:
        raise ScenarioError(f"{scenario.name}: gateway.settings, with {count:,} people: {exc}") from None
    return Plan(scenario, config, _people(scenario, arrivals), factor, shapes.digest(arrivals))


def people_of(scenario: Scenario, arrivals: np.ndarray) -> int:
    """Who may say "I was there": the applicants, or where nobody applies the members, or else everybody who comes."""
    counts = np.bincount(arrivals["stream"], minlength=len(scenario.streams)).tolist()
    applicants = sum(count for count, stream in zip(counts, scenario.streams, strict=True) if stream.kind == "applicant")
    members = max((min(stream.members, count) for count, stream in zip(counts, scenario.streams, strict=True) if stream.kind == "sync"), default=0)
    return applicants or members or len(arrivals)


def _refuse(scenario: Scenario) -> None:
    for fault in scenario.faults:
        if fault.what not in PLAYED:
            played = ", ".join(sorted(PLAYED))
            raise ScenarioError(f"{scenario.name}: {fault.what} has no meaning in virtual time: there are no processes to stop; played are {played}")
    if scenario.gateway.loses_one:
        raise ScenarioError(f"{scenario.name}: loses_one is a self-test of the ledgers: in virtual time there is no Kafka to read")


def outages_s(faults: list[Planned], of: str) -> list[tuple[float, float]]:
    """(from, to) in which it is away."""
    return sorted((at_s, at_s + fault.for_s) for fault in faults if fault.what.startswith(of) for at_s in fault.instants_s())


# Growing


def grown(scenario: Scenario, factor: float, workers: int | None) -> Scenario:
    """The same day in a city so many times as large."""
    scale = msgspec.structs.replace(scenario.scale, people=scenario.scale.people / factor)
    below = scenario.downstream and msgspec.structs.replace(
        scenario.downstream, per_s=scenario.downstream.per_s * factor, knee=max(scenario.downstream.knee * factor, 2.0)
    )
    streams = [msgspec.structs.replace(stream, members=min(max(1, round(stream.members * factor)), 10_000_000)) for stream in scenario.streams]
    return msgspec.structs.replace(scenario, scale=scale, downstream=below, streams=streams, gateway=_grown_gateway(scenario, factor, workers))


def _grown_gateway(scenario: Scenario, factor: float, workers: int | None) -> Gateway:
    gateway = scenario.gateway
    settings: dict[str, Any] = gateway.settings | {"limits": _hurried(gateway.settings.get("limits", {}), scenario.scale.clock)}
    if "room" in settings:
        # What the file leaves out has its shipped value, which stands for a whole city already.
        sizes = {name: value * factor for name, value in settings["room"].items() if name in GROWN_SETTINGS}
        whole = {name: max(1, round(sizes[name])) for name in ("lag_target", "poll_budget_per_s") if name in sizes}
        if "ceiling_per_s" in sizes:
            sizes["ceiling_per_s"] = min(sizes["ceiling_per_s"], DOOR_PER_S_MAX)
        settings["room"] = settings["room"] | sizes | whole
    fleet = workers or min(64, max(gateway.workers, WORKERS_GROWN if factor > 1 else 1))
    return msgspec.structs.replace(gateway, settings=settings, workers=fleet, records_per_s=gateway.records_per_s * factor)


def _hurried(limits: dict[str, Any], clock: float) -> dict[str, Any]:
    """The same buckets, those of all together as many times as large as the clock runs faster, within what a setting may say."""
    made: dict[str, Any] = msgspec.to_builtins(msgspec.convert(limits, Limits))
    for policy in made["policies"]:
        for rule in policy["rules"]:
            if rule["by"] in {"global", "route"} and clock > 1:
                rule["tokens"], rule["burst"] = min(rule["tokens"] * clock, TOKENS_MAX), min(round(rule["burst"] * clock), BURST_MAX)
    return made


# Who comes


def _people(scenario: Scenario, arrivals: np.ndarray) -> People:
    ordinals = shapes.ordinals(arrivals)
    parts = [_of_stream(scenario, number, stream, arrivals, ordinals) for number, stream in enumerate(scenario.streams)]
    order = np.argsort(np.concatenate([np.flatnonzero(arrivals["stream"] == number) for number in range(len(parts))]))
    return People(*(np.concatenate(column)[order] for column in zip(*parts, strict=True)))


_BEGINS: Final = {"applicant": State.JOIN, "sync": State.SYNC, "stranger": State.STRANGER, "forger": State.FORGER}


def _of_stream(scenario: Scenario, number: int, stream: Stream, arrivals: np.ndarray, ordinals: NDArray[np.int64]) -> People:
    is_its = arrivals["stream"] == number
    meant_s = arrivals["at_s"][is_its]
    count, manners, draw = len(meant_s), stream.manners, np.random.default_rng([scenario.seed, number, 1])
    bounds = np.cumsum([manners.impatient, manners.leaves, manners.sleeps, manners.tabs, manners.blind])
    kind = np.searchsorted(bounds, draw.random(count), "right")  # 5: obeys
    is_applicant = stream.kind == "applicant"
    within_s = meant_s + draw.random(count) * manners.within_s
    away_s = draw.uniform(*manners.sleep_s, count)
    form_s = np.exp(draw.normal(np.log(max(manners.form_s, 1e-3)) - FORM_SPREAD**2 / 2, FORM_SPREAD, count))
    begins = _BEGINS[stream.kind] if scenario.has_room or not is_applicant else State.FORM
    return People(
        np.full(count, number, np.int16),
        np.full(count, begins, np.int8),
        meant_s,
        np.where((kind == 1) & is_applicant, within_s, NEVER_S),
        np.where((kind == 2) & is_applicant, within_s, NEVER_S),
        within_s + away_s,
        form_s,
        draw.random(count),
        ordinals[is_its] % stream.members if stream.kind == "sync" else np.full(count, -1),
        kind == 0,
        kind == 3,
        kind == 4,
    )
