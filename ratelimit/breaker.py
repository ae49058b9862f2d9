"""When the store counts as away, and when as back.

Pure: the limiter tells what its calls did and when; here stands what follows.

    closed ──did_fail──▶ open: nobody waits for the store     any call that raised, or that somebody waited
       ▲                   │                                  `timeout_s` for; where nobody asks, a beat that raised
       └──did_answer───────┘                                  within `timeout_s`, and not while held

While open one call is a question whether the store is back: every `PROBE_S`, and at once when a call
that was given up is answered after all, for that is how a frozen store wakes.  So one slow call
costs the time it was late plus one round trip.  Before any ask has failed the questions are beats.

A store that comes and goes would make somebody wait `timeout_s` at each going.  So who trips again within
`QUIET_S` of closing stays open, unasked, for the next of `HOLDS_S`: no more than one trip a second in the
long run, and a store that is back is back for us at most that second and one answer later.
Units: seconds of a monotonic clock.
"""

from typing import Final, Literal

PROBE_S: Final = 0.25
QUIET_S: Final = 5.0
HOLDS_S: Final = (0.0, 0.25, 0.5, 1.0)

Reason = Literal["ok", "slow", "away"]


class Breaker:
    """One store as seen from here."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.is_open = False
        self.reason: Reason = "ok"
        self.trips = 0
        self.probe_at_s = 0.0  # while open: the next question is due
        self._trips_in_a_row = 0
        self._opened_s = 0.0
        self._closed_s = float("-inf")
        self._degraded_s = 0.0

    def did_fail(self, now_s: float, reason: Literal["slow", "away"]) -> None:
        """A call raised, or took too long; of a call that was a question too."""
        self.reason = reason
        if self.is_open:
            self.probe_at_s = max(self.probe_at_s, now_s + PROBE_S)
            return
        self._trips_in_a_row = self._trips_in_a_row + 1 if now_s - self._closed_s < QUIET_S else 0
        self.is_open = True
        self.trips += 1
        self._opened_s = now_s
        self.probe_at_s = now_s + max(PROBE_S, self._hold_s)

    def did_answer(self, now_s: float, sent_s: float) -> None:
        """A call was answered, in time or not."""
        if not self.is_open:
            return
        held_until_s = self._opened_s + self._hold_s
        if now_s - sent_s > self._timeout_s or now_s < held_until_s:
            self.probe_at_s = min(self.probe_at_s, max(now_s, held_until_s))
            return
        self.is_open = False
        self.reason = "ok"
        self._closed_s = now_s
        self._degraded_s += now_s - self._opened_s

    def did_ask(self, now_s: float) -> None:
        """A question left; the next is due unless this one is answered."""
        self.probe_at_s = now_s + PROBE_S

    def degraded_s(self, now_s: float) -> float:
        """How long it has been open in all."""
        return self._degraded_s + (now_s - self._opened_s if self.is_open else 0.0)

    @property
    def _hold_s(self) -> float:
        return HOLDS_S[min(self._trips_in_a_row, len(HOLDS_S) - 1)]
