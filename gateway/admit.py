"""May this request pass now?  Decided before its signature is checked and its body is read.

Here is only the state around core/admission.py (what is held, how fast it drains, who was
refused in the last second) and core/overload.py (how much at once, and who first).  Quotas
are in limits.py.
"""

import random
from collections.abc import Sequence
from typing import Final

from gateway.board import Slot
from gateway.check import CheckedSync
from gateway.clock import Clock
from gateway.core import admission
from gateway.core.admission import Code, Load
from gateway.core.event import days_old
from gateway.core.overload import BACKFILL_PRESSURE, WITH_SPOOL, Controller, End, Policy, Rank, share_of, sheds_backfill
from gateway.deliver import Deliverer
from gateway.errors import Refusal

_DETAIL: Final = {
    "draining": "this server is about to stop; the next connection reaches another",
    "overloaded": "more is in flight than this server holds at once",
    "not-durable": "the store does not answer; nothing of this request was kept",
}
_SMOOTHING: Final = 0.3  # of the last second in the average rate: forgets within about five seconds
_RANKS: Final = {"syncs": Rank.SYNC, "signups": Rank.SIGNUP, "joins": Rank.JOIN}
_STORED: Final = frozenset({"syncs", "signups"})  # what Kafka must take; a join is the room's
_GOLDEN: Final = 0.618034  # steps of it, modulo 1, are even at any length
_HOUR_US: Final = 3_600_000_000


class Admission:
    """The doorkeeper of one worker."""

    def __init__(self, in_flight_bytes_max: int, deliverer: Deliverer, clock: Clock, slot: Slot, secret: bytes = b"") -> None:
        """Args: secret: the same in all workers, so that a retry meets the same fate in each."""
        self._in_flight_bytes_max = in_flight_bytes_max
        self._deliverer = deliverer
        self._monotonic_s = clock.monotonic_s
        self._now_us = clock.now_us
        self._secret = secret
        self._overload = Controller(WITH_SPOOL if deliverer.has_spool else Policy(), clock.monotonic_s())
        self._second = 0
        self._spread = 0.0
        self._drained_bytes = 0
        self._refused_bytes = 0
        self._drained_bytes_per_s = 0.0
        self._gauges = {name: slot.gauge(f"sluicegate_{name}") for name in ("in_flight_bytes", "overload_limit", "overload_in_flight")}
        self._refused = slot.counters_by("sluicegate_overload_refused_total")
        self.bodies_bytes = 0
        self.is_draining = False

    def admit(self, kind: str, length: int, token: str = "", *, is_kept: bool = False) -> int:
        """Reserve room for a body of `length` bytes: returns the cost, to be given to `done`.

        Args:
            token: the text that names who asks, unverified, with or without a scheme: one person's retries share one fate.
            is_kept: its connection has had a request before: it may as well open another one elsewhere.

        Raises:
            Refusal: draining, overloaded or not-durable, each with an honest Retry-After.
        """
        now_s, overload, deliverer = self._monotonic_s(), self._overload, self._deliverer
        if now_s >= self._second + 1:
            self._turn(now_s)
        cost_bytes = length + admission.REQUEST_OVERHEAD_BYTES
        code = admission.decide(
            cost_bytes=cost_bytes,
            in_flight_bytes=self.bodies_bytes + deliverer.held_bytes,
            in_flight_bytes_max=self._in_flight_bytes_max,
            is_draining=self.is_draining and is_kept,
            is_stalled=kind in _STORED and not deliverer.is_open(kind),
        )
        if code is None and not overload.is_admitted(_RANKS[kind], self._share(token), now_s):
            self._refused[kind].add()
            code = "overloaded"
        if code is not None:
            raise self._refusal(code, cost_bytes)
        self.bodies_bytes += cost_bytes
        overload.admitted()
        return cost_bytes

    @property
    def is_open(self) -> bool:
        """Nobody is refused for their place in the rank."""
        return self._overload.is_open

    def turned_away_at_once(self, kind: str, length: int, token: str) -> Refusal | None:
        """The refusal of who stands above the bar, for those who can be told before anything else is looked at.

        None: ask `admit`.  The same fate either way, and counted once.
        """
        if self.is_draining or not self._deliverer.is_open(kind):
            return None
        if not self._overload.is_turned_away(_RANKS[kind], self._share(token), self._monotonic_s()):
            return None
        self._refused[kind].add()
        return self._refusal("overloaded", length + admission.REQUEST_OVERHEAD_BYTES)

    def _refusal(self, code: Code, cost_bytes: int) -> Refusal:
        members = {"outcome": "none"} if code == "not-durable" else None
        return Refusal(code, _DETAIL[code], retry_after_s=self.turned_away(cost_bytes, code), members=members)

    def _share(self, token: str) -> float:
        """A person's place in their class; while all pass, any even spread will do."""
        if self._overload.is_open:
            self._spread = (self._spread + _GOLDEN) % 1.0
            return self._spread
        # Without a scheme, which may be spelled in many ways: else one could draw one's lot again.
        return share_of((token.split() or [""])[-1], self._now_us() // _HOUR_US, self._secret)

    def turned_away(self, cost_bytes: int, code: Code = "overloaded") -> int:
        """Count who is refused for what all send together; returns when to come back, in seconds."""
        self._refused_bytes += cost_bytes
        return self.retry_after_s(code)

    def done(self, cost_bytes: int, end: End, began_s: float) -> None:
        """The request has been answered; give back what `admit` reserved.

        Args:
            end: ANSWERED or SPOOLED where some of it became durable.  Only that says how fast what is held will drain:
                a 401 takes no time, and a 503 means that nothing moves.
            began_s: when it was admitted, or its last byte came where that was later; by the monotonic clock.
        """
        now_s = self._monotonic_s()
        self.bodies_bytes -= cost_bytes
        if end is End.ANSWERED or end is End.SPOOLED:
            self._drained_bytes += cost_bytes
        self._overload.finished(now_s, now_s - began_s, end)

    def awaits_body(self) -> None:
        """Its phone is slow: until `has_body` it takes bytes, and no part of the store's time."""
        self._overload.paused()

    def has_body(self) -> None:
        """The rest has come, or never will."""
        self._overload.admitted()

    def shed(self, checked: CheckedSync) -> Sequence[int]:
        """Positions of the records that wait, because more comes than can be taken: days gone by."""
        pressure = self._overload.pressure
        if pressure < BACKFILL_PRESSURE:
            return ()
        now_us, recorded = self._now_us(), checked.recorded
        ages = {day: days_old(day, now_us) for day in {sample.day for sample in recorded}}  # few days, many samples
        waiting = {day for day, age in ages.items() if age is not None and sheds_backfill(pressure, age)}
        shed = [position for position, sample in enumerate(recorded) if sample.day in waiting] if waiting else ()
        if shed:
            self._refused["backfill"].add(len(shed))
        return shed

    def lagged(self, lag_s: float) -> None:
        """The event loop was so late; the worker calls this ten times a second."""
        self._overload.lagged(self._monotonic_s(), lag_s)

    def retry_after_s(self, code: Code = "not-durable") -> int:
        """When someone who is refused for this, or was after admission, should come back."""
        return admission.retry_after_s(code, self._load(), random.random())  # noqa: S311 - spreads retries, guards nothing

    def show(self) -> None:
        """Post the gauge; the worker calls this twice a second."""
        self._turn(self._monotonic_s())
        self._gauges["in_flight_bytes"].set(self._load().in_flight_bytes)
        self._gauges["overload_limit"].set(self._overload.limit)
        self._gauges["overload_in_flight"].set(self._overload.in_flight)

    def _load(self) -> Load:
        return Load(self.bodies_bytes + self._deliverer.held_bytes, self._drained_bytes_per_s, self._refused_bytes)

    def _turn(self, now_s: float) -> None:
        """Fold the second that has passed into the average."""
        second = int(now_s)
        if second != self._second:
            seconds = min(second - self._second, 60)
            rate = self._drained_bytes / seconds
            # An idle gap counts as that many quiet seconds.
            weight = 1 - (1 - _SMOOTHING) ** seconds
            self._drained_bytes_per_s += weight * (rate - self._drained_bytes_per_s)
            self._second, self._drained_bytes, self._refused_bytes = second, 0, 0
