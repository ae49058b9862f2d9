"""May this request pass now?  Decided before its signature is checked and its body is read.

Here is only the state around core/admission.py: what is held, how fast it
drains, who was refused in the last second.  Quotas and the room come with their
issues and will stand here.
"""

import random
from typing import Final

from gateway.board import Slot
from gateway.clock import Clock
from gateway.core import admission
from gateway.core.admission import Code, Load
from gateway.deliver import Deliverer
from gateway.errors import Refusal

_DETAIL: Final = {
    "draining": "this server is about to stop; the next connection reaches another",
    "overloaded": "more is in flight than this server holds at once",
    "not-durable": "the store does not answer; nothing of this request was kept",
}
_SMOOTHING: Final = 0.3  # of the last second in the average rate: forgets within about five seconds


class Admission:
    """The doorkeeper of one worker."""

    def __init__(self, in_flight_bytes_max: int, deliverer: Deliverer, clock: Clock, slot: Slot) -> None:
        self._in_flight_bytes_max = in_flight_bytes_max
        self._deliverer = deliverer
        self._monotonic_s = clock.monotonic_s
        self._second = 0
        self._drained_bytes = 0
        self._refused_bytes = 0
        self._drained_bytes_per_s = 0.0
        self._gauge = slot.gauge("sluicegate_in_flight_bytes")
        self.bodies_bytes = 0
        self.is_draining = False

    def admit(self, kind: str, length: int, *, is_kept: bool = False) -> int:
        """Reserve room for a body of `length` bytes: returns the cost, to be given to `done`.

        Args: is_kept: its connection has had a request before: it may as well open another one elsewhere.

        Raises:
            Refusal: draining, overloaded or not-durable, each with an honest Retry-After.
        """
        self._turn()
        cost_bytes = length + admission.REQUEST_OVERHEAD_BYTES
        code = admission.decide(
            cost_bytes=cost_bytes,
            in_flight_bytes=self.bodies_bytes + self._deliverer.held_bytes,
            in_flight_bytes_max=self._in_flight_bytes_max,
            is_draining=self.is_draining and is_kept,
            is_stalled=not self._deliverer.is_open(kind),
        )
        if code is not None:
            self._refused_bytes += cost_bytes
            members = {"outcome": "none"} if code == "not-durable" else None
            raise Refusal(code, _DETAIL[code], retry_after_s=self.retry_after_s(code), members=members)
        self.bodies_bytes += cost_bytes
        return cost_bytes

    def done(self, cost_bytes: int, *, is_stored: bool) -> None:
        """The request has been answered; give back what `admit` reserved.

        Args: is_stored: some of it became durable.  Only that says how fast what is held will drain: a 401
            takes no time, and a 503 means that nothing moves.
        """
        self.bodies_bytes -= cost_bytes
        if is_stored:
            self._drained_bytes += cost_bytes

    def retry_after_s(self, code: Code = "not-durable") -> int:
        """When someone who is refused for this, or was after admission, should come back."""
        return admission.retry_after_s(code, self._load(), random.random())  # noqa: S311 - spreads retries, guards nothing

    def show(self) -> None:
        """Post the gauge; the worker calls this twice a second."""
        self._turn()
        self._gauge.set(self._load().in_flight_bytes)

    def _load(self) -> Load:
        return Load(self.bodies_bytes + self._deliverer.held_bytes, self._drained_bytes_per_s, self._refused_bytes)

    def _turn(self) -> None:
        """Fold the second that has passed into the average."""
        second = int(self._monotonic_s())
        if second != self._second:
            seconds = min(second - self._second, 60)
            rate = self._drained_bytes / seconds
            # An idle gap counts as that many quiet seconds.
            weight = 1 - (1 - _SMOOTHING) ** seconds
            self._drained_bytes_per_s += weight * (rate - self._drained_bytes_per_s)
            self._second, self._drained_bytes, self._refused_bytes = second, 0, 0
