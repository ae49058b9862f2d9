"""The door's own clock: it counts the people whom the rate has let pass, not seconds.

Pure integers.  A *turn* is a point on this clock, in ten-thousandths of a person: whoever books
turn 120,000 is released when twelve people's time has gone by since turn 0.

    turn ▲            ╱ rate 2          V(now) = turn + (now - at) / token
         │      pause╱                  a change of the rate, a pause and a step of the machine's clock
         │   ┌──────┘                   only move the anchor (at, turn): what is booked stays booked,
         │  ╱ rate 1                    so many people apart, whatever becomes of the seconds
         └──────────────▶ now_us

Why not instants: a slot in seconds has to be moved by every later change of the rate, so every reader
needs all changes since it was booked, in order, and must know which of them it has seen; the ninth
change of a list of eight is lost.  A turn never moves, and one anchor tells anybody when it is due.

All is exact in a double, which is all Lua has: 2**53 turns are three years at 10,000/s.  `divmod`
there is math.fmod and a division without a rest.  Rounding always makes a turn later, by at most a
ten-thousandth of a person at each change.
"""

from math import ceil
from typing import Final, NamedTuple

PERSON: Final = 10_000  # turns; 0.4 µs at 250/s, 6 ms at one a minute
TOKEN_US_MIN: Final = 10  # 100,000/s: no door is wider
TOKEN_US_MAX: Final = 60_000_000  # one a minute; slower is a pause


def token_us_of(rate_per_s: float) -> int:
    """A person's time, rounded up, so that never more than the rate pass.  Raises ValueError where no door has this rate."""
    token_us = ceil(1_000_000 / rate_per_s - 1e-6) if rate_per_s > 1e-3 else 0  # 1/60 is no binary fraction
    if not TOKEN_US_MIN <= token_us <= TOKEN_US_MAX:
        raise ValueError(f"rate {rate_per_s:g}/s: want at least one a minute and at most 100,000/s")
    return token_us


class DoorClock(NamedTuple):
    """The anchor, the rate, and whether it stands."""

    turn: int
    at_us: int
    token_us: int  # a person's time
    is_paused: bool = False

    @property
    def rate_per_s(self) -> float:
        """People a second, while it runs."""
        return 1_000_000 / self.token_us

    def turn_at(self, now_us: int) -> int:
        """How far it has come."""
        if self.is_paused:
            return self.turn
        return self.turn + self.turns_in(max(now_us - self.at_us, 0))

    def turns_in(self, span_us: int) -> int:
        """How many turns go by in this time."""
        people, rest_us = divmod(span_us, self.token_us)
        return people * PERSON + rest_us * PERSON // self.token_us

    def span_us(self, turns: int) -> int:
        """How long so many turns take."""
        people, rest = divmod(turns, PERSON)
        return people * self.token_us - (-rest * self.token_us // PERSON)

    def due_us(self, turn: int) -> int:
        """When it comes to this turn at the present rate; for one before the anchor, no later than this."""
        return self.at_us + self.span_us(max(turn - self.turn, 0))

    def with_rate(self, token_us: int, now_us: int) -> "DoorClock":
        """The same clock, at another speed from now on."""
        assert TOKEN_US_MIN <= token_us <= TOKEN_US_MAX, token_us  # token_us_of refuses the rest
        return DoorClock(self.turn_at(now_us), now_us, token_us, self.is_paused)

    def paused(self, now_us: int) -> "DoorClock":
        """It stands: what is owed stays owed."""
        return DoorClock(self.turn_at(now_us), now_us, self.token_us, is_paused=True)

    def resumed(self, now_us: int) -> "DoorClock":
        """It goes on from where it stood."""
        return DoorClock(self.turn_at(now_us), now_us, self.token_us)

    def shifted(self, by_us: int) -> "DoorClock":
        """The machine's clock stepped by so much, and this one does not follow."""
        return self._replace(at_us=self.at_us + by_us)
