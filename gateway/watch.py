"""What the workers' board says of Kafka and of overload, for the pace of the door.

Decided here: when acknowledgements have stopped, and when people who came through the door are refused
behind it; from all workers of this machine together, a second at a time.  What follows is decided in core/pace.py.

Pure but for the board, which is memory; `now_s` comes in.
"""

from typing import Final, NamedTuple

from gateway.board import Board
from gateway.core.light import REASONS, Colour

_JUDGED_S: Final = 0.5  # less shows no ack of a Kafka that is only slow
_SERVING: Final = 2  # of sluicegate_worker_state; who only starts has asked nobody yet


class Totals(NamedTuple):
    """All workers together, at one instant."""

    serving: int
    stalled: int  # of these: Kafka is red, or has not answered for deliver.stall_ms
    acked: int  # batches, ever
    refused: int  # sign-ups, by overload, ever; a rush of joins is the line's own work, and no reason to shut the door


class Load(NamedTuple):
    """What follows from two of them."""

    acks_stopped: bool = False
    sheds: bool = False


def load_of(before: Totals, now: Totals) -> Load:
    """Acks stopped where every worker stalls, or one does and none shows an ack: the others may have had nothing to send."""
    acks_stopped = now.stalled > 0 and (now.stalled == now.serving or now.acked == before.acked)
    return Load(acks_stopped, now.refused > before.refused)


class Watch:
    """Looks at the board, and judges what came since the look before."""

    def __init__(self, board: Board, stall_s: float) -> None:
        self._slots = board.slots[:-1]
        self._stall_s = stall_s
        self._before: Totals | None = None
        self._looked_s = 0.0
        self._load = Load()

    def look(self, now_s: float) -> Load:
        """The judgement of now; the last one, where that is only a moment ago."""
        if self._before is not None and now_s - self._looked_s < _JUDGED_S:
            return self._load
        now = self._totals()
        self._load = load_of(self._before, now) if self._before is not None else Load()
        self._before, self._looked_s = now, now_s
        return self._load

    def _totals(self) -> Totals:
        serving = [slot for slot in self._slots if slot.gauge("sluicegate_worker_state").value >= _SERVING]
        is_red = [REASONS[int(slot.gauge("sluicegate_kafka_reason").value)].colour is Colour.RED for slot in serving]
        is_late = [slot.gauge("sluicegate_unacked_age_seconds").value > self._stall_s for slot in serving]
        batches = [slot.counters_by("sluicegate_kafka_batches_total") for slot in self._slots]
        refused = [slot.counters_by("sluicegate_overload_refused_total") for slot in self._slots]
        return Totals(
            len(serving),
            sum(map(max, is_red, is_late)),
            sum(one["acked"].value + one["late"].value for one in batches),
            sum(one["signups"].value for one in refused),
        )
