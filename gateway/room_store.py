"""What a worker asks of the store that all gateways share: one waiting room's line.

The law is core/waiting.py; here is only who may be asked what, and what can go wrong.  Two of
these sit one exam (tests/contracts/test_room_store.py): redis_room.py with the scripts of lua/, and
tests/memory_room.py, the law itself.

Every call names the newest tail and head its worker has seen.  A store that has less has come back
older or empty: it does nothing and says Behind; then `recover` raises it, and the call is made again.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from gateway.core.pace import Pace
from gateway.core.sign import Acts, Joined, Refused, Sign, Slot

CALL_MAX: Final = 128  # joins or knocks a call: it holds Redis for about a millisecond
SEEN_MAX: Final = 250  # places a tick may note: each takes 4 µs of Redis, Lua calling SETBIT twice, and a tick is to hold it for less than 2 ms


class Seen(NamedTuple):
    """The most this worker has seen."""

    tail: int = 0
    head: int = 0


class Notes(NamedTuple):
    """What a worker tells with its tick; see Room.tick."""

    near: Sequence[int] = ()
    far: Sequence[int] = ()
    given: Sequence[tuple[int, int]] = ()  # (place, turn)
    signups: int = 0
    form_s: int = 0


class RoomStore(Protocol):
    """One room and epoch.  Each call is atomic, and raises errors.RoomAway, or Behind where it says so."""

    async def join(self, ids: Sequence[bytes], seen: Seen, owed: int = 0) -> list[Joined | Refused]:
        """Room.join; at most CALL_MAX, each id 8 bytes.  Behind."""

    async def tick(self, notes: Notes, seen: Seen) -> Sign:
        """Room.tick; at most SEEN_MAX places.  Behind."""

    async def door(self, places: Sequence[int], seen: Seen) -> list[Slot | Refused]:
        """Room.door; at most CALL_MAX.  Behind."""

    async def set_pace(self, pace: Pace, changed_us: int) -> bool:
        """Room.set_pace.  Behind."""

    async def act(self, acts: Acts) -> bool:
        """Room.act.  Behind."""

    async def recover(self, sign: Sign | None, margin: int, given: Iterable[tuple[int, int]] = ()) -> Sign:
        """Open the room where there is none, and raise it to what `sign` remembers; harmless where it is not behind.

        Args:
            margin: places that may have been given since; added where the store was restarted, not for each who calls.
            given: (place, slot_s) of passes given without the store: through, and not to be booked again.
        """

    async def owners(self, claims: Sequence[tuple[str, str]]) -> list[str]:
        """Whose each pass is: of (holder, signup_id), the first signup_id named with it, for as long as a pass is good.  At most CALL_MAX."""

    async def close(self) -> None:
        """Let go of connections."""
