"""The lights of one instant: what a reading says of workers, Kafka, Redis, the line's store and the spool.

Pure.  One rule for the screen, /readyz and /metrics: the worse of what the workers found in their work and what
the supervisor found by asking; a dependency that nobody needs just now is asked all the same.
"""

from typing import Final

from gateway.core.light import INDEX, REASONS, Reason, worst
from gateway.ops.readings import Gauges, Reading, Seating
from gateway.pacer import State

SILENT_S: Final = 1.5  # three beats: a worker that misses one is busy
ENDED_SHOWN_S: Final = 5.0  # its successor serves within a second: nobody would see the light
SIGN_OLD_S: Final = 2.0  # the pacer asks once a second

Lights = dict[str, Reason]


def lights(reading: Reading) -> Lights:
    """One for each of metrics.DEPENDENCIES."""
    speaking = _speaking(reading)
    return {
        "workers": REASONS[INDEX[_workers(reading)]],
        "kafka": worst([*(gauges.kafka_reason for gauges in speaking), INDEX[reading.probed.kafka]]),
        "redis": worst([*(gauges.redis_reason for gauges in speaking), INDEX[reading.probed.redis]]),
        "room": REASONS[INDEX[_room(reading)]],
        "spool": worst(gauges.spool.reason for gauges in speaking),
    }


def shown(reason: Reason) -> dict[str, object]:
    """As /readyz says it."""
    return {"colour": reason.colour.name.lower(), "reason": reason.code, "says": reason.says}


def not_able(workers: list[Seating]) -> Seating | None:
    """The first worker that does not serve as it should, or did not a moment ago."""
    return next((one for one in workers if _trouble(one)), None)


def is_silent(one: Seating) -> bool:
    """Whether it serves, or should, and does not beat."""
    return one.is_ready and one.silent_s > SILENT_S


def _workers(reading: Reading) -> str:
    if reading.readiness.why == "starting":
        return "workers-starting"
    if not any(one.is_ready and not is_silent(one) for one in reading.readiness.workers):
        return "no-worker"
    one = not_able(reading.readiness.workers)
    return _trouble(one) if one else "workers-ok"


def _trouble(one: Seating) -> str:
    if is_silent(one):
        return "worker-silent"
    return "worker-ended" if not one.is_ready or (one.ended_s is not None and one.ended_s < ENDED_SHOWN_S) else ""


def _room(reading: Reading) -> str:
    if reading.room is None:
        return "no-room"
    state = reading.room.state
    if state.sign is None:
        return "room-away" if state.is_away else "not-asked"
    is_well = is_fresh(state) and not any(gauges.is_room_away for gauges in _speaking(reading))
    return "room-ok" if is_well else "room-away"


def is_fresh(state: State) -> bool:
    """Whether the room's sign is of now."""
    return not state.is_away and state.age_s <= SIGN_OLD_S


def _speaking(reading: Reading) -> list[Gauges]:
    """Of workers that beat: what one said before it froze is no news of anybody else."""
    return [gauges for one, gauges in zip(reading.readiness.workers, reading.gauges, strict=True) if not is_silent(one)]
