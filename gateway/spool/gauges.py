"""A worker's spool on the board: its light and why, how much waits, what its disk did.

Decided here: which reason of core/light.py a spool's state is.  The worst thing first:

    closed                not-asked       grey: it recovers, or its worker drains
    failed                spool-failed    red
    full                  spool-full      red
    records put aside     spool-aside     red
    damage found          spool-aside     red
    records in rejected/  spool-rejected  amber
    records wait          spool-used      amber
    otherwise             spool-ok        green

What was rejected is kept, within its bound, and everything is taken and replayed as ever: amber, though a person has to
see to it.  Where there is no room for more of it, or the disk does not give back what it took, the spool is in trouble: red.

A copy that is there at one look and gone at the next was insurance for a batch on its way: Kafka took it, and nobody has to look.
"""

from typing import Final, NamedTuple

from gateway.board import Slot
from gateway.core.light import INDEX, REASONS
from gateway.spool.store import Reason, Spool


class Held(NamedTuple):
    """What a spool holds, and for whom."""

    waiting: int = 0  # records that waited at the look before too
    aside: int = 0  # records
    damaged: int = 0  # segments
    rejected_bytes: int = 0


def reason_of(state: Reason, held: Held) -> str:
    """The code of the light's reason."""
    match state:
        case "closed":
            return "not-asked"
        case "failed" | "full":
            return f"spool-{state}"
        case "ok":
            if held.aside or held.damaged:
                return "spool-aside"
            return "spool-rejected" if held.rejected_bytes else "spool-used" if held.waiting else "spool-ok"


class SpoolGauges:
    """Copies a spool's figures to a worker's slot.

    Args:
        spool: None where it is switched off.
        bytes_max: the setting's.
    """

    def __init__(self, spool: Spool | None, bytes_max: int, slot: Slot) -> None:
        self._spool = spool
        self._bytes_max = bytes_max
        self._waited = 0  # records, at the look before
        self._gauges = {name: slot.gauge(f"sluicegate_{name}") for name in _NAMES}
        frames = slot.counters_by("sluicegate_spool_frames_total")
        self._counters = (frames["synced"], frames["failed"], slot.counter("sluicegate_spool_set_aside_total"))
        self._counted = (0, 0, 0)

    def show(self) -> None:
        """As it is now.  Called twice a second."""
        if self._spool is None:
            self._light("no-spool")
            return
        waiting = sum(self._spool.waiting().values())
        held = Held(min(waiting, self._waited), self._spool.records_aside, self._spool.segments_damaged, self._spool.rejected_bytes)
        self._light(reason_of(self._spool.reason, held))
        self._waited = waiting
        self._gauges["spool_bytes"].set(self._spool.size_bytes)
        self._gauges["spool_waiting_bytes"].set(self._spool.waiting_bytes)
        self._gauges["spool_max_bytes"].set(self._bytes_max)
        self._gauges["spool_records"].set(waiting)
        self._gauges["spool_aside_records"].set(held.aside)
        self._gauges["spool_damaged_segments"].set(held.damaged)
        self._gauges["spool_rejected_bytes"].set(held.rejected_bytes)
        self._gauges["spool_oldest_seconds"].set(self._spool.oldest_s)
        self._count(self._spool)

    def _light(self, code: str) -> None:
        self._gauges["spool_reason"].set(INDEX[code])
        self._gauges["spool_light"].set(REASONS[INDEX[code]].colour)

    def _count(self, spool: Spool) -> None:
        """The board's counters outlive the worker, the spool's begin with it."""
        now = (spool.frames_synced, spool.frames_failed, spool.frames_set_aside)
        for counter, count, before in zip(self._counters, now, self._counted, strict=True):
            counter.add(count - before)
        self._counted = now


_NAMES: Final = (
    "spool_light",
    "spool_reason",
    "spool_bytes",
    "spool_waiting_bytes",
    "spool_max_bytes",
    "spool_records",
    "spool_aside_records",
    "spool_damaged_segments",
    "spool_rejected_bytes",
    "spool_oldest_seconds",
)
