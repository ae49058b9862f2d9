"""What the workers' board says of Kafka, of the spool and of overload, for the pace of the door.

Decided here: when acknowledgements have stopped, when the spool fills, and when people who came through the door are
refused behind it; from all workers of this machine together, a second at a time.  What follows is decided in core/pace.py.

The spool fills where one of these holds:

    little is left     what waits takes FULL_SHARE of the bytes of one worker, and so of all, or of that one alone: nobody
                       chooses the worker, and whoever is let in now may find no room for the form in ten minutes
    much of it stays   for the window records became more by STAYS_SHARE of those that were taken, in all workers.  Neither
                       downstream's lag nor its consumption shows them, so the law of the pace would take them for people
                       who never came, and open the door further

Not the bytes alone: eight gigabytes last for a night, in which the door would stand open in front of a Kafka that takes half.
Not the growth alone: one failing partition of 24 keeps one person of 24 waiting, and is no reason to shut out the others.
And not what is younger than the window: copies are made as insurance for a batch that is late, and go when it arrives.
Bytes that wait, and not those that are used: after an outage one dead partition keeps every segment on the disk for the
few records that are its own, and the door would stay shut for them.  When they use up the disk, Kafka still takes all
but that partition's; an alert speaks long before.
While the backlog of an outage gets smaller the spool does not fill, however much waits: replay does not need the door shut.

Pure but for the board, which is memory; `now_s` comes in.
"""

from collections import deque
from typing import Final, NamedTuple

from gateway.board import Board, Slot
from gateway.core.light import REASONS, Colour
from gateway.metrics import TOPICS

_JUDGED_S: Final = 0.5  # less shows no ack of a Kafka that is only slow
_SERVING: Final = 2  # of sluicegate_worker_state; who only starts has asked nobody yet
FULL_SHARE: Final = 0.7  # as SluicegateSpoolFilling says; an hour of 200 a second takes a fourteenth
STAYS_SHARE: Final = 0.25  # twice what one failing partition of eight keeps


class Totals(NamedTuple):
    """All workers together, at one instant."""

    serving: int
    stalled: int  # of these: Kafka is red, or has not answered for deliver.stall_ms
    acked: int  # batches, ever
    refused: int  # sign-ups, by overload, ever; a rush of joins is the line's own work, and no reason to shut the door


class Spooled(NamedTuple):
    """All workers' spools together, at one instant."""

    serving: int  # workers
    fullest: float  # of them: how much of its bytes is taken by what waits, 0 to 1; 0 where there is none
    records: float  # that wait
    oldest_s: float
    taken: int  # events answered with success, ever


class Load(NamedTuple):
    """What follows from two of them: next_pace's, by name."""

    acks_stopped: bool = False
    sheds: bool = False
    spool_fills: bool = False


def load_of(before: Totals, now: Totals) -> Load:
    """Acks stopped where every worker stalls, or one does and none shows an ack: the others may have had nothing to send."""
    acks_stopped = now.stalled > 0 and (now.stalled == now.serving or now.acked == before.acked)
    return Load(acks_stopped, now.refused > before.refused)


def fills(before: Spooled, now: Spooled, window_s: float) -> bool:
    """Whether the spool fills.  Args: before: that long ago, or as long as it was watched."""
    if now.fullest >= FULL_SHARE:
        return True
    if now.oldest_s < window_s or now.serving != before.serving:
        return False  # insurance; or a worker began or ended, and what its directory holds came or went with it
    grown, taken = now.records - before.records, now.taken - before.taken
    # More than twice what was taken is a directory that was adopted; less than twice, those whose requests are still in hand.
    return grown > 0 and STAYS_SHARE * taken <= grown <= 2 * taken


class Watch:
    """Looks at the board, and judges what came since the look before.

    Args:
        stall_s: how old the oldest batch has to be for its worker to stall.
        window_s: what the spool is watched over; as long as a batch may be in flight, for no older copy is its insurance.
    """

    def __init__(self, board: Board, stall_s: float, window_s: float) -> None:
        self._slots = board.slots[:-1]
        self._stall_s = stall_s
        self._window_s = window_s
        self._before: Totals | None = None
        self._spooled: deque[tuple[float, Spooled]] = deque()  # from the window's begin on
        self._looked_s = 0.0
        self._load = Load()

    def look(self, now_s: float) -> Load:
        """The judgement of now; the last one, where that is only a moment ago."""
        if self._before is not None and now_s - self._looked_s < _JUDGED_S:
            return self._load
        now = self._totals()
        self._load = load_of(self._before, now) if self._before is not None else Load()
        self._load = self._load._replace(spool_fills=self._fills(now_s))
        self._before, self._looked_s = now, now_s
        return self._load

    def _fills(self, now_s: float) -> bool:
        self._spooled.append((now_s, self._in_spools()))
        while len(self._spooled) > 1 and self._spooled[1][0] <= now_s - self._window_s:
            self._spooled.popleft()
        return fills(self._spooled[0][1], self._spooled[-1][1], self._window_s)

    def _serving(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.gauge("sluicegate_worker_state").value >= _SERVING]

    def _in_spools(self) -> Spooled:
        def each(name: str) -> list[float]:
            return [slot.gauge(f"sluicegate_{name}").value for slot in serving]

        serving = self._serving()
        taken = [
            slot.counter("sluicegate_events_total", topic, outcome).value for slot in self._slots for topic in TOPICS for outcome in ("durable", "spooled")
        ]
        return Spooled(
            len(serving),
            max((kept / most for kept, most in zip(each("spool_waiting_bytes"), each("spool_max_bytes"), strict=True) if most), default=0.0),
            sum(each("spool_records")),
            max(each("spool_oldest_seconds"), default=0.0),
            sum(taken),
        )

    def _totals(self) -> Totals:
        serving = self._serving()
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
