"""What a waiting room tells: its answers, the sign over its door, and the numbers it goes by.

Pure values; the rules that make them are in waiting.py, what a worker says from them in place.py.

A room is open, paused or closed.  Paused: nobody is let in, and who comes still gets a place.  Closed: nobody new
gets one either.  Both are the operator's, and neither undoes the other; to the door's clock they are one, `is_shut`.
"""

from enum import Enum
from typing import Final, Literal, NamedTuple

from gateway.core.pace import Pace
from gateway.core.ticket import PASS_US
from gateway.core.turn import DoorClock

PASS_S: Final = PASS_US // 1_000_000  # how long a pass is good
PAUSED_US: Final = 5_000_000  # what a shut door says; nobody knows better
BOUNDS: Final = 64  # steps of the line in the sign: a 64th of the wait is finer than the estimate
LOBBY_BOUNDS: Final = 16  # of the called, who are a lobby or two, but thousands after a mass return


class Policy(NamedTuple):
    """The numbers, each with its reason."""

    lobby_us: int = 3_000_000  # called people; <= hold + burst + 0.3 s, or the door refuses
    hold_us: int = 2_500_000  # how long an answer is held: held requests are rate x this
    hold_slow_us_max: int = 5_000_000  # below one a second a person's time is longer than the hold
    burst_us: int = 200_000  # how much the door makes good of what it could not do just before
    near_us: int = 4_000_000  # two of these: as long as people near their turn may be silent
    far_us: int = 30_000_000  # three of these, for estimates
    crowd_percent: int = 150  # of a lobby; less, and the gate would fall in normal times
    line_max: int = 2_000_000  # not yet called; the bitmaps take a byte each
    poll_budget_per_s: int = 10_000  # GETs of the place; what eight workers answer beside all else
    poll_s_max: int = 55  # below a minute, where proxies and phones close what is silent
    token_us_min: int = 1_000  # at the operator's ceiling

    def hold_at_us(self, token_us: int) -> int:
        """How far ahead the door books at this rate."""
        return max(self.hold_us, min(self.hold_slow_us_max, token_us))

    def poll_s_longest(self, waiting: int) -> int:
        """The longest interval between two asks while so many wait."""
        return max(self.poll_s_max, waiting // self.poll_budget_per_s)


class Reason(Enum):
    """Why the door or the line says no."""

    NOT_CALLED = "not-called"
    BUSY = "busy"  # called, but the door is booked out
    PAUSED = "paused"  # or closed, which is one to the door
    FULL = "line-full"
    CLOSED = "room-closed"  # to who has no place yet


class Slot(NamedTuple):
    """Through: the answer is given at `turn`, at most a burst later; 0, in a repeat, is one that was given.

    `slot_s`: what the pass is made of, beside the place: when it was to be given, as seen at booking.  Stays
    the same for a repeat, though a later change of the rate moves the release.
    """

    turn: int
    slot_s: int


class Refused(NamedTuple):
    """Not through, and in how long the door may have a turn."""

    reason: Reason
    free_in_us: int = 0


class Joined(NamedTuple):
    """A place, and on a quiet day the way through at once."""

    place: int
    is_new: bool
    slot: Slot | None = None


RoomState = Literal["open", "paused", "closed"]


class Acts(NamedTuple):
    """What the operator said last, as a whole: of two, the larger version wins, whatever Redis remembers."""

    version: int = 0  # µs since the epoch of who said it, and always more than the one before
    is_paused: bool = False
    told_per_s: float | None = None  # None: as downstream takes
    message: str = ""  # what people in line read, beside what we say
    is_closed: bool = False  # the last, and with a default: acts that an older version wrote have no such field

    @property
    def is_shut(self) -> bool:
        """Nobody is let in."""
        return self.is_paused or self.is_closed

    @property
    def state(self) -> RoomState:
        """What a room is under these acts."""
        if self.is_closed:
            return "closed"
        return "paused" if self.is_paused else "open"


class Sign(NamedTuple):
    """What every worker knows of the room: one value a tick, from which places are answered."""

    at_us: int
    clock: DoorClock
    gate: int
    head: int
    tail: int
    called: int  # live people below head
    booked: int  # turns given that have not come
    called_places: tuple[int, ...]  # of the live people below head: the first, and each 16th of them, ends before this
    waiting: int  # there
    ahead_from: int  # between here, the head of late, ..
    ahead_to: int  # .. and here, in BOUNDS equal steps:
    ahead: tuple[int, ...]  # how many are there below each
    leaving_per_s: float  # of each person
    gate_per_s: float
    far_us: int
    passes: int  # people through since the line was opened
    signups: int  # of them, whose application is durable
    form_s: int  # seconds between slot and sign-up, of all of these together
    acts: Acts
    pace: Pace
    passes_counted: int = 0  # of `passes`, when `waiting` was counted

    @property
    def state(self) -> RoomState:
        """As everybody is told."""
        if not self.clock.is_paused:
            return "open"
        return "closed" if self.acts.is_closed else "paused"

    @property
    def reason(self) -> str:
        """Why the door lets in as many as it does, or none."""
        return self.pace.reason.value if self.state == "open" else self.state

    def obeying(self, acts: Acts, now_us: int) -> "Sign":
        """The same line under these acts: a store that is away, or had forgotten them, cannot say so."""
        clock = self.clock
        if acts.is_shut != clock.is_paused:
            clock = clock.paused(now_us) if acts.is_shut else clock.resumed(now_us)
        return self._replace(acts=acts, clock=clock)
