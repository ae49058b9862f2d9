"""Everything the screen is made from, as it stands at one instant: values, read and not judged.

Decided here: what is read of the board.  Not decided here: what follows from it (status.py).
"""

from typing import Final, NamedTuple

from gateway.board import Board, Slot, Totals
from gateway.config import Room
from gateway.ops.frame import Machine
from gateway.pacer import State

STATES: Final = ("stopped", "starting", "serving", "draining")  # of a worker, as it posts them


class Seating(NamedTuple):
    """What the supervisor knows of one worker."""

    worker: int
    state: str  # stopped, starting, serving, draining, wedged
    starts: int
    is_ready: bool
    silent_s: float  # since its last beat
    ended_s: float | None  # how long ago one ended here, unasked; None: never


class Readiness(NamedTuple):
    """Whether this process can answer; `why` is empty when it can."""

    why: str
    workers: list[Seating]


class Probed(NamedTuple):
    """What the supervisor's own questions found: the reason code of each light, and the seconds an answer took (NaN: none came)."""

    kafka: str
    redis: str
    kafka_s: float
    redis_s: float


class Spooled(NamedTuple):
    """What one worker's spool holds."""

    reason: int
    bytes: float
    bytes_max: float  # 0: there is none
    records: int  # that wait for Kafka
    aside: int  # that are not replayed
    oldest_s: float


class Gauges(NamedTuple):
    """What one worker posts."""

    kafka_reason: int
    redis_reason: int
    is_room_away: bool
    unacked_age_s: float
    in_flight_bytes: float
    loop_lag_s: float
    cpu: float
    memory_bytes: float
    connections: int
    spool: Spooled


class RoomReading(NamedTuple):
    """The configured room: its settings, and what the pacer knows."""

    settings: Room
    state: State


class Reading(NamedTuple):
    """All of it."""

    at_ms: int
    now_s: float  # on a clock that does not step
    readiness: Readiness
    totals: Totals
    gauges: list[Gauges]
    probed: Probed
    room: RoomReading | None
    cpu: float  # of this process
    memory_bytes: int
    viewers: int
    machine: str
    machines: list[Machine]


def gauges(board: Board) -> list[Gauges]:
    """Of every worker."""
    read = []
    for slot in board.slots[:-1]:
        value = {name: slot.gauge(f"sluicegate_{name}").value for name in _NAMES}
        read.append(
            Gauges(
                int(value["kafka_reason"]),
                int(value["redis_reason"]),
                bool(value["room_away"]),
                value["unacked_age_seconds"],
                value["in_flight_bytes"],
                value["loop_lag_seconds"],
                value["worker_cpu_ratio"],
                value["worker_memory_bytes"],
                int(value["connections"]),
                _spooled(slot),
            )
        )
    return read


def _spooled(slot: Slot) -> Spooled:
    reason, size, most, records, aside, oldest_s = (slot.gauge(f"sluicegate_{name}").value for name in _OF_THE_SPOOL)
    return Spooled(int(reason), size, most, int(records), int(aside), oldest_s)


_OF_THE_SPOOL = ("spool_reason", "spool_bytes", "spool_max_bytes", "spool_records", "spool_aside_records", "spool_oldest_seconds")
_NAMES = (
    "kafka_reason",
    "redis_reason",
    "room_away",
    "unacked_age_seconds",
    "in_flight_bytes",
    "loop_lag_seconds",
    "worker_cpu_ratio",
    "worker_memory_bytes",
    "connections",
)
