"""The law itself as a RoomStore: core/waiting.py with a clock that is set, and switches for what a Redis does on a bad day.

tests/contracts/test_room_store.py examines it beside the real one.

    now_us       moves when a test says so
    forget()     the server came back empty
    older()      it came back as it was at `snapshot()`, or at first
    away         nothing answers, and nothing is done
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Final

from gateway.core.pace import Pace
from gateway.core.sign import PASS_S, Acts, Joined, Policy, Refused, Sign, Slot
from gateway.core.ticket import JOIN_BYTES
from gateway.core.waiting import Room
from gateway.errors import Behind, RoomAway
from gateway.room_store import CALL_MAX, SEEN_MAX, Notes, Seen

NOTHING_SEEN: Final = Seen()


class MemoryRoom:
    """gateway.room_store.RoomStore in this process; several workers share it by sharing the object."""

    def __init__(self, policy: Policy, token_us: int, now_us: int = 1_769_519_405_000_000) -> None:
        self.now_us = now_us
        self.away = False
        self.room: Room | None = None
        self.is_lost = True  # nobody has raised it since the server started
        self._policy, self._token_us = policy, token_us
        self._owners: dict[str, tuple[str, int]] = {}  # holder → its sign-up, and until when
        self._snapshot = self._copy()

    def snapshot(self) -> None:
        """What `older` goes back to."""
        self._snapshot = self._copy()

    def older(self) -> None:
        """The server was restarted from its snapshot, or a replica that had not all took its place."""
        self.room, self._owners = deepcopy(self._snapshot)
        self.is_lost = True

    def forget(self) -> None:
        """The server was restarted and is empty."""
        self.room, self._owners = None, {}
        self.is_lost = True

    async def join(self, ids: Sequence[bytes], seen: Seen, owed: int = 0) -> list[Joined | Refused]:
        assert len(ids) <= CALL_MAX, len(ids)
        assert all(len(join_id) == JOIN_BYTES for join_id in ids), ids
        return self._raised(seen).join(ids, self.now_us, owed)

    async def tick(self, notes: Notes, seen: Seen) -> Sign:
        assert len(notes.near) + len(notes.far) + len(notes.given) <= SEEN_MAX, notes
        return self._raised(seen).tick(self.now_us, *notes)

    async def door(self, places: Sequence[int], seen: Seen) -> list[Slot | Refused]:
        assert len(places) <= CALL_MAX, len(places)
        return self._raised(seen).door(places, self.now_us)

    async def set_pace(self, pace: Pace, changed_us: int) -> bool:
        return self._raised().set_pace(pace, changed_us, self.now_us)

    async def act(self, acts: Acts) -> bool:
        return self._raised().act(acts, self.now_us)

    async def recover(self, sign: Sign | None, margin: int, given: Iterable[tuple[int, int]] = ()) -> Sign:
        self._answer()
        if self.room is None:
            self.room = Room.opened(self._policy, self._token_us, self.now_us)
        was_lost, self.is_lost = self.is_lost, False
        return self.room.recover(sign, margin, self.now_us, list(given), is_lost=was_lost)

    async def owners(self, claims: Sequence[tuple[str, str]]) -> list[str]:
        assert len(claims) <= CALL_MAX, len(claims)
        self._answer()
        return [self._owner(*claim) for claim in claims]

    def _owner(self, holder: str, signup_id: str) -> str:
        owner, until_us = self._owners.get(holder, (signup_id, 0))
        if self.now_us >= until_us:
            owner = signup_id
            self._owners[holder] = owner, self.now_us + PASS_S * 1_000_000
        return owner

    async def close(self) -> None:
        self.away = True

    def _answer(self) -> None:
        if self.away:
            raise RoomAway("no contact")

    def _raised(self, seen: Seen = NOTHING_SEEN) -> Room:
        self._answer()
        if self.room is None or self.is_lost or self.room.tail < seen.tail or self.room.head < seen.head:
            raise Behind("the room is not what was seen of it")
        return self.room

    def _copy(self) -> tuple[Room | None, dict[str, tuple[str, int]]]:
        return deepcopy((self.room, self._owners))
