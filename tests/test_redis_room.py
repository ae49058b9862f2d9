"""What is written down for the scripts, and what counts as their answer.  What they decide: tests/contracts/test_room_store.py."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec
import pytest

from gateway.core import sign as signs
from gateway.core import ticket, turn, waiting
from gateway.core.pace import Pace, Reason
from gateway.core.sign import Acts, Policy, Sign
from gateway.errors import Behind, RoomAway
from gateway.redis_room import RedisRoom
from gateway.room_store import CALL_MAX, SEEN_MAX, Notes, Seen
from ratelimit.redis_line import Refused
from ratelimit.store import StoreAway

LUA: Final = files("gateway").joinpath("lua")
PRELUDE: Final = LUA.joinpath("room.lua").read_text()


class Line:
    """Answers scripts as it is told, and keeps what it was asked."""

    def __init__(self, reply: Any) -> None:
        self.run_id, self.is_open, self.closed = "this-server", True, 0
        self.reply, self.asked = reply, list[tuple[Any, ...]]()

    async def ask(self, command: tuple[Any, ...]) -> Any:
        self.asked.append(command)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def close(self) -> None:
        self.is_open, self.closed = False, self.closed + 1


def room_on(reply: Any) -> tuple[RedisRoom, Line]:
    room, line = RedisRoom("redis://127.0.0.1:1", "signup", 7, Policy(), 100_000), Line(reply)
    room._pool._idle.append(line)  # type: ignore[arg-type]
    return room, line


def said(line: Line) -> list[Any]:
    """What ARGV[1] says after now, policy, run_id and what was seen."""
    _, _, keys, key, argument, *_ = line.asked[-1]
    assert (keys, key) == (1, "{sluicegate:room:signup:7}:state")
    now_us, policy, run_id, tail, head, *rest = msgspec.msgpack.decode(argument, type=list[Any])
    assert (now_us, policy, run_id, tail, head) == (0, list(Policy()), "this-server", 5, 3)
    return rest


async def test_each_call_says_whom_it_means_and_what_was_seen() -> None:
    seen = Seen(5, 3)
    room, line = room_on(msgspec.msgpack.encode([(0, True, 0, 0), (-1, False, 0, 0)]))
    await room.join([b"12345678", b"abcdefgh"], seen, 1)
    assert (said(line), line.asked[-1][5]) == ([1], b"12345678abcdefgh")
    line.reply = msgspec.msgpack.encode([("busy", 9, 0)])
    await room.door(range(1), seen)
    assert said(line) == [[0]]
    line.reply = b""
    with pytest.raises(RoomAway):
        await room.tick(Notes({1: 0}.keys(), (2,), [(3, 4), (5, 6)], 7, 8), seen)  # type: ignore[arg-type]
    assert said(line) == [[1], [2], [3, 4, 5, 6], 7, 8]


@pytest.mark.parametrize(
    "reply",
    [b"", b"\xc0", b"\x90", *map(msgspec.msgpack.encode, ([1], [("because", 0, 0)], [("busy", 0.5, 0)], [("busy", 0, 0)] * 2)), 7, [b""], "OK"],
)
async def test_what_is_no_answer_is_no_contact(reply: Any) -> None:
    room, _ = room_on(reply)
    with pytest.raises(RoomAway) as told:
        await room.door([1], Seen())
    assert not isinstance(told.value, Behind)


async def test_behind_is_an_answer_and_other_errors_cost_the_connection() -> None:
    room, line = room_on(Refused("BEHIND the room is not what was seen"))
    with pytest.raises(Behind):
        await room.tick(Notes(), Seen())
    assert line.closed == 0
    line.reply = Refused("READONLY You can't write against a read only replica.")
    with pytest.raises(RoomAway, match="READONLY") as told:
        await room.tick(Notes(), Seen())
    assert not isinstance(told.value, Behind)
    assert line.closed == 1
    room, line = room_on(StoreAway("no answer from Redis for 5 s"))
    with pytest.raises(RoomAway, match="no answer"):
        await room.owners([("a", "b")])


async def test_a_rate_that_no_door_has_is_never_sent() -> None:
    room, line = room_on(b"")
    with pytest.raises(ValueError, match="rate"):
        await room.set_pace(Pace(0.0, Reason.TOLD, 0, 0), 0)
    assert not line.asked


@pytest.mark.parametrize("calls", [CALL_MAX + 1, 2 * CALL_MAX])
async def test_more_than_a_call_may_hold_is_a_bug(calls: int) -> None:
    room, line = room_on(b"")
    for call in (room.join([b"12345678"] * calls, Seen()), room.door(range(calls), Seen()), room.tick(Notes(near=range(SEEN_MAX + calls)), Seen())):
        with pytest.raises(AssertionError):
            await call
    with pytest.raises(AssertionError):
        await room.join([b"short"], Seen())
    assert not line.asked


# What the scripts name by position or by number, and Python by name


def test_the_policy_is_written_as_the_scripts_read_it() -> None:
    listed = re.search(r"ipairs\(\{('lobby_us'.*?)\}\)", PRELUDE, re.DOTALL)
    assert listed
    names: Sequence[str] = re.findall(r"'(\w+)'", listed[1])
    assert Policy._fields[: len(names)] == tuple(names)


def test_a_sign_is_read_where_it_stands() -> None:
    recover = LUA.joinpath("recover.lua").read_text()
    listed = re.search(r"local (AT_US.*?) = (.*)", recover)
    assert listed
    for name, at in zip(listed[1].split(", "), listed[2].split(", "), strict=True):
        assert Sign._fields[int(at) - 1] == name.lower()
    assert turn.DoorClock._fields == ("turn", "at_us", "token_us", "is_paused")
    assert Pace._fields.index("changed_us") == 3
    assert Acts._fields == ("version", "is_paused", "told_per_s", "message", "is_closed")


def test_the_scripts_have_the_numbers_of_the_law() -> None:
    assert f"local PERSON, PASS_S, STEP_US_MAX = {turn.PERSON}, {signs.PASS_S}, {waiting.STEP_US_MAX}" in PRELUDE
    for text in (
        f"for step = 1, {signs.BOUNDS} do",
        f"for step = 0, {signs.LOBBY_BOUNDS} do",
        f"div(called * step, {signs.LOBBY_BOUNDS})",
        f"{waiting.LEAVING_MEMORY_S:g} / ({waiting.LEAVING_MEMORY_S:g} + seconds)",
        f"room.gate_per_s * {waiting.SPEED_MEMORY_S:g} + moved",
        f"local guess = {waiting.GUESS_S:g} * room.there",
        f"1 / {1 / waiting.LEAVING_GUESS_PER_S:g}",
        f"1 / {1 / waiting.LEAVING_MAX_PER_S:g}",
        f"'{Reason.LAG_UNKNOWN.value}'",
    ):
        assert text in PRELUDE, text
    assert f"now_us - room.counted_us >= {waiting.COUNT_EVERY_US}" in LUA.joinpath("tick.lua").read_text()
    assert f"{{'paused', {signs.PAUSED_US}, 0}}" in LUA.joinpath("door.lua").read_text()
    assert f"at + {ticket.JOIN_BYTES - 1}" in LUA.joinpath("join.lua").read_text()
