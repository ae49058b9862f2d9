"""The form of a frame: what the operators' screen is told once a second, numbers and codes alone.

Decided here: names, units and shapes, version 1.  Not decided here: what the values are (status.py), and how
they are said (dashboard/words.json, in Korean and English).  Rates are those of the last five seconds.
A value that is not known is null, never 0.
"""

from typing import Final

from msgspec import Struct

from gateway.core.sign import RoomState

VERSION: Final = 1


class Bottleneck(Struct, frozen=True):
    """What limits most just now, one of `status.BOTTLENECKS`; `reason` is a light's or the pace's."""

    code: str
    reason: str = ""
    worker: int | None = None


class Light(Struct, frozen=True):
    """One dependency; `reason` is a code of core/light.py."""

    colour: str
    reason: str
    since_ms: int


class RoomNumbers(Struct, frozen=True):
    """The line, the same on every machine.  Where its store has never answered, `known` is false and the numbers are null."""

    name: str
    epoch: int
    known: bool
    state: RoomState
    depth: int | None  # people in line now, as the store counts them
    uncalled: int | None  # places given and not called yet, whoever has left among them
    lobby: int | None  # people who are called and may knock
    head: int | None
    tail: int | None
    oldest_wait_s: float | None  # how long who is called next has been in line
    p50_s: float | None  # what who joins now is told
    p90_s: float | None
    rate_per_s: float | None
    floor_per_s: float
    ceiling_per_s: float
    told_per_s: float | None
    reason: str
    reason_since_ms: int | None
    through_per_s: float | None
    joins_per_s: float | None
    leaving_per_s: float | None
    lag: int | None  # sign-ups in Kafka that downstream has not consumed
    lag_target: int
    sign_age_ms: int | None
    message: str
    acts_version: int
    applied: bool  # whether the store knew what the operator said last, when it last answered


class ClassRates(Struct, frozen=True):
    """What became of one class of requests."""

    accepted_per_s: float
    refused_per_s: float
    shed_per_s: float  # of the refused: by overload


class Traffic(Struct, frozen=True):
    """Of the public port."""

    accepted_per_s: float  # syncs and sign-ups
    refused_per_s: float
    shed_per_s: float
    by_class: dict[str, ClassRates]
    refused_by_code: dict[str, float]


class Ack(Struct, frozen=True):
    """From admission to Kafka's acknowledgement; null where nothing was acknowledged."""

    p50_ms: float | None
    p99_ms: float | None


class Unacked(Struct, frozen=True):
    """The oldest batch that Kafka has not answered, and the bytes held for requests."""

    age_ms: float
    bytes: int


class SpoolNumbers(Struct, frozen=True):
    """What this machine's disk holds for Kafka, of all its workers together."""

    bytes: int
    bytes_max: int
    fullest: float  # the fullest worker's share of what it may take: it alone refuses when that is 1
    records: int  # that wait for Kafka
    aside: int  # that are not replayed
    oldest_s: float  # how long ago the oldest that waits was received
    replayed_per_s: float
    left_s: float | None  # until none waits, as the last seconds went; null where they do not get fewer


class Objective(Struct, frozen=True):
    """How fast an error budget burns: 1 spends exactly all of it; null: nothing was asked."""

    objective: float
    burn_5m: float | None
    burn_1h: float | None


class Slo(Struct, frozen=True):
    """`answered`: not with 5xx; `acked`: within half a second."""

    answered: Objective
    acked: Objective


class WorkerNumbers(Struct, frozen=True):
    """One worker; `state` as /readyz says it, or `silent`."""

    worker: int
    state: str
    lag_ms: float
    cpu: float  # of one core
    memory_mb: float
    restarts: int
    connections: int


class SupervisorNumbers(Struct, frozen=True):
    """The process that shows this."""

    cpu: float
    memory_mb: float


class Machine(Struct, frozen=True, omit_defaults=True):
    """Another machine of the fleet, as it said itself `age_ms` ago."""

    name: str
    age_ms: int
    ready: bool
    able: int  # workers that serve
    workers: int
    accepted_per_s: float
    refused_per_s: float
    p99_ms: float | None  # until Kafka acknowledged
    lights: dict[str, str]  # dependency → colour, of those that are amber or red
    spool_records: int = 0  # that wait for Kafka on its disk; nothing is said of none


class Frame(Struct, frozen=True):
    """Everything the screen shows of one instant."""

    v: int
    at_ms: int
    started_ms: int
    version: str
    ready: bool
    why: str  # "" where it is ready
    bottleneck: Bottleneck
    lights: dict[str, Light]
    room: RoomNumbers | None
    traffic: Traffic
    ack: Ack
    unacked: Unacked
    spool: SpoolNumbers | None  # null where it is switched off
    slo: Slo
    loop_lag_ms: float  # the worst worker's
    workers: list[WorkerNumbers]
    supervisor: SupervisorNumbers
    viewers: int
    machine: str  # whose screen this is
    machines: list[Machine]  # the others, at most fleet.SHOWN_MAX; what the line is, is the same on all
    machines_heard: int  # how many others there are


# A point of a chart is the value at each of these paths.
POINT: Final = (
    "at_ms",
    "room.depth",
    "room.rate_per_s",
    "room.through_per_s",
    "room.oldest_wait_s",
    "room.p50_s",
    "room.lag",
    "traffic.accepted_per_s",
    "traffic.refused_per_s",
    "traffic.shed_per_s",
    "ack.p99_ms",
    "loop_lag_ms",
    "spool.records",
)

Point = tuple[int | float | None, ...]


def point(frame: Frame) -> Point:
    """What history keeps of it."""
    values: list[int | float | None] = []
    for path in POINT:
        value: object = frame
        for name in path.split("."):
            value = getattr(value, name, None)
        assert value is None or isinstance(value, int | float), path
        values.append(value)
    return tuple(values)
