"""The waiting room in Redis: one script for each call, and no call is ever repeated.

Decided here: what is written down for the scripts of lua/, and what counts as an answer.  The rules
are the scripts', whose law core/waiting.py is; the keys are drawn in lua/room.lua.  Time is Redis' own.

Every call says which server it means: the run_id that the other end of its connection gave when it was
opened.  The room knows which one it was raised on last, so one that was restarted, replaced by its replica
or restored answers Behind, whatever it remembers; with it comes StoreAway, which becomes RoomAway here.
"""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, Final, TypeVar

import msgspec

from gateway.core.pace import Pace
from gateway.core.sign import Acts, Joined, Policy, Reason, Refused, Sign, Slot
from gateway.core.ticket import JOIN_BYTES
from gateway.core.turn import token_us_of
from gateway.errors import Behind, RoomAway
from gateway.room_store import CALL_MAX, SEEN_MAX, Notes, Seen
from ratelimit.redis_line import Line
from ratelimit.redis_line import Refused as RefusedByRedis
from ratelimit.redis_pool import Pool, Script, run_id_of
from ratelimit.store import StoreAway

T = TypeVar("T")

_encode: Final = msgspec.msgpack.Encoder().encode
_JOINED: Final = msgspec.msgpack.Decoder(list[tuple[int, bool, int, int]])
_KNOCKED: Final = msgspec.msgpack.Decoder(list[tuple[Reason | None, int, int]])
_SIGN: Final = msgspec.msgpack.Decoder(Sign)
_OWNED: Final = msgspec.msgpack.Decoder(list[str])
_IS_SO: Final = msgspec.msgpack.Decoder(bool)
_NO_PLACE: Final = {-1: Refused(Reason.FULL), -2: Refused(Reason.CLOSED)}  # join.lua says no other


def _script(name: str) -> Script:
    folder = files("gateway").joinpath("lua")
    return Script(folder.joinpath("room.lua").read_bytes() + folder.joinpath(f"{name}.lua").read_bytes())


_JOIN: Final = _script("join")
_TICK: Final = _script("tick")
_DOOR: Final = _script("door")
_PACE: Final = _script("pace")
_ACT: Final = _script("act")
_RECOVER: Final = _script("recover")
_OWNERS: Final = _script("owners")


class RedisRoom:
    """A RoomStore (see there) in a Redis.  Connects when first asked.

    Args:
        url, connect_timeout_s, give_up_s: see ratelimit.redis_pool.Pool.
        name, epoch: which room, and which of its lines; each has keys of its own.
        token_us: a person's time where the room is opened: the slowest, for nothing is known yet.

    Raises: ValueError: the url is none.
    """

    now_us = 0
    """For tests: an instant instead of Redis' clock."""

    def __init__(self, url: str, name: str, epoch: int, policy: Policy, token_us: int, *, connect_timeout_s: float = 1.0, give_up_s: float = 5.0) -> None:
        self._pool = Pool(url, connect_timeout_s=connect_timeout_s, give_up_s=give_up_s)
        self._prefix = f"{{sluicegate:room:{name}:{epoch}}}:"
        self._policy, self._token_us = policy, token_us

    async def join(self, ids: Sequence[bytes], seen: Seen, owed: int = 0) -> list[Joined | Refused]:
        """See RoomStore."""
        assert len(ids) <= CALL_MAX, len(ids)
        assert all(len(join_id) == JOIN_BYTES for join_id in ids), ids
        answers = await self._run(_JOIN, seen, (owed,), _JOINED, b"".join(ids))
        if len(answers) != len(ids):
            raise RoomAway(f"{len(answers)} answers to {len(ids)} joins")
        return [Joined(place, is_new, Slot(turn, slot_s) if slot_s else None) if place >= 0 else _NO_PLACE[place] for place, is_new, turn, slot_s in answers]

    async def tick(self, notes: Notes, seen: Seen) -> Sign:
        """See RoomStore."""
        assert len(notes.near) + len(notes.far) + len(notes.given) <= SEEN_MAX, notes
        return await self._run(_TICK, seen, (list(notes.near), list(notes.far), _flat(notes.given), notes.signups, notes.form_s), _SIGN)

    async def door(self, places: Sequence[int], seen: Seen) -> list[Slot | Refused]:
        """See RoomStore."""
        assert len(places) <= CALL_MAX, len(places)
        answers = await self._run(_DOOR, seen, (list(places),), _KNOCKED)
        if len(answers) != len(places):
            raise RoomAway(f"{len(answers)} answers to {len(places)} knocks")
        return [Refused(why, turn) if why else Slot(turn, slot_s) for why, turn, slot_s in answers]

    async def set_pace(self, pace: Pace, changed_us: int) -> bool:
        """See RoomStore."""
        return await self._run(_PACE, Seen(), (pace, token_us_of(pace.rate_per_s), changed_us), _IS_SO)

    async def act(self, acts: Acts) -> bool:
        """See RoomStore."""
        return await self._run(_ACT, Seen(), (acts,), _IS_SO)

    async def recover(self, sign: Sign | None, margin: int, given: Iterable[tuple[int, int]] = ()) -> Sign:
        """See RoomStore."""
        return await self._run(_RECOVER, Seen(), (sign, margin, _flat(given), self._token_us), _SIGN)

    async def owners(self, claims: Sequence[tuple[str, str]]) -> list[str]:
        """See RoomStore."""
        assert len(claims) <= CALL_MAX, len(claims)
        owners = await self._run(_OWNERS, Seen(), (claims,), _OWNED)
        if len(owners) != len(claims):
            raise RoomAway(f"{len(owners)} answers to {len(claims)} claims")
        return owners

    async def close(self) -> None:
        """Let go of connections; calls in flight raise RoomAway now."""
        self._pool.close()

    async def _run(self, script: Script, seen: Seen, said: tuple[object, ...], decoder: "msgspec.msgpack.Decoder[T]", *more: bytes) -> T:
        async def talk(line: Line) -> Any:
            argument = _encode((self.now_us, self._policy, await run_id_of(line), *seen, *said))
            try:
                return await script.run(line, (1, f"{self._prefix}state", argument, *more))
            except RefusedByRedis as refused:
                if not str(refused).startswith("BEHIND"):
                    raise
                return None  # an answer like any other: the connection is none the worse for it

        reply = await self._talk(talk)
        if reply is None:
            raise Behind("the room in Redis is not what was seen of it")
        try:
            return decoder.decode(reply)
        except (msgspec.MsgspecError, TypeError) as error:
            raise RoomAway(f"no answer of a room's script: {error}") from error

    async def _talk(self, talk: Any) -> Any:
        try:
            return await self._pool.talk(talk)
        except StoreAway as away:
            raise RoomAway(str(away)) from away


def _flat(pairs: Iterable[tuple[int, int]]) -> list[int]:
    return [number for pair in pairs for number in pair]
