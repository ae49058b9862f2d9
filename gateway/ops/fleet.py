"""The other machines: each supervisor says once a second how it is, and hears how the others are.

Decided here: what is said, where, and how long it is believed.  In the limits' Redis, beside their buckets: machines
that share limits are one fleet.  That Redis is away: nobody is heard of, and the light says why.

A machine that has said nothing for KEPT_S is gone from the list; shown with the age of what it said until then.
What it says of its spools, so that any machine can answer for any receipt, is for the board and in no frame.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta, Struct

from gateway.board import MACHINES_MAX, Board
from gateway.metrics import DEPENDENCIES
from gateway.ops.frame import Frame, Machine
from gateway.watermarks import SPOOLS_MAX, together
from ratelimit.redis_pool import Pool, Script
from ratelimit.store import StoreAway

PERIOD_S: Final = 1.0
KEPT_S: Final = 10.0
SHOWN_MAX: Final = 8  # in a frame, which goes to every viewer each second: those in trouble first
SUMMARY_BYTES_MAX: Final = 4_096  # spools included: 64 of 36 bytes each
NAME_MAX: Final = 64
_GIVE_UP_S: Final = 1.0

_SAY: Final = Script(files("gateway").joinpath("lua", "fleet.lua").read_bytes())
_decode: Final = msgspec.json.Decoder(Machine).decode

SpoolName = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


class Spools(Struct):
    """The other half of a summary: how far a machine's spools have come, by their ids in hex."""

    spools: Annotated[dict[SpoolName, Annotated[int, Meta(ge=0, le=2**63 - 1)]], Meta(max_length=SPOOLS_MAX)] = {}


_decode_spools: Final = msgspec.json.Decoder(Spools).decode


class Town(Protocol):
    """Where machines hear of each other."""

    async def say(self, name: str, summary: bytes) -> Sequence[tuple[int, bytes]]:
        """Be heard; returns (age_ms, summary) of the others.  Raises StoreAway."""

    async def close(self) -> None:
        """Let go of connections."""


class RedisTown:
    """A hash in a Redis.  Args: prefix: what the keys of the limits begin with."""

    def __init__(self, url: str, prefix: str) -> None:
        self._pool = Pool(url, connect_timeout_s=_GIVE_UP_S, give_up_s=_GIVE_UP_S)
        self._key = f"{prefix}fleet"

    async def say(self, name: str, summary: bytes) -> Sequence[tuple[int, bytes]]:
        """See Town."""
        arguments = (1, self._key, name, summary, int(KEPT_S * 1_000), MACHINES_MAX)
        told = await self._pool.talk(lambda line: _SAY.run(line, arguments))
        if not isinstance(told, list) or len(told) % 2:
            raise StoreAway(f"no answer of fleet.lua: {told!r}")
        return list(zip(told[::2], told[1::2], strict=True))

    async def close(self) -> None:
        """See Town."""
        self._pool.close()


class Fleet:
    """Voice and ear of a machine.

    Args:
        name: of this machine; two of one name would be one.
        board: where spools are told from, and those of others to.
    """

    def __init__(self, town: Town, name: str, board: Board) -> None:
        self._town = town
        self._board = board
        self.name = name
        self.others: list[Machine] = []  # all that spoke of late, those in trouble first

    async def run(self, frame: Callable[[], Frame | None]) -> None:
        """For ever, once a second."""
        while True:
            if (now := frame()) is not None:
                await self.say(now)
            await asyncio.sleep(PERIOD_S)

    async def say(self, frame: Frame) -> None:
        """Once; where nobody can be heard, nobody is there."""
        ours = together(slot.watermarks for slot in self._board.slots)
        try:
            told = await self._town.say(self.name, said(summary(frame, self.name), ours))
        except StoreAway:
            self.others = []
            self._board.abroad.put({})
            return
        self._board.abroad.put(spools_of(told))
        self.others = sorted(heard(told), key=lambda machine: (machine.ready and not machine.lights, machine.name))

    async def close(self) -> None:
        """After `run` was cancelled."""
        await self._town.close()


def summary(frame: Frame, name: str) -> Machine:
    """What a frame says to other machines' screens."""
    able = sum(one.state == "serving" for one in frame.workers)
    colours = {light: shown.colour for light, shown in frame.lights.items() if shown.colour in ("amber", "red")}
    rates, kept = frame.traffic, frame.spool.records if frame.spool else 0
    return Machine(name, 0, frame.ready, able, len(frame.workers), rates.accepted_per_s, rates.refused_per_s, frame.ack.p99_ms, colours, kept)


def said(machine: Machine, watermarks: Mapping[int, int]) -> bytes:
    """A summary as it is sent: how a machine is, and how far its spools have come."""
    spools = {f"{spool_id:016x}": watermark for spool_id, watermark in list(watermarks.items())[:SPOOLS_MAX]}
    return msgspec.json.encode({**msgspec.to_builtins(machine), "spools": spools})


def spools_of(told: Sequence[tuple[int, bytes]]) -> dict[int, int]:
    """The watermarks of other machines' spools, by id."""
    found: dict[int, int] = {}
    for _, text in told:
        if len(text) > SUMMARY_BYTES_MAX:
            continue
        try:
            spools = _decode_spools(text).spools
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        found |= {int(name, 16): watermark for name, watermark in spools.items()}
    return found


def heard(told: Sequence[tuple[int, bytes]]) -> list[Machine]:
    """Who said something that can be read; another version's may be another form."""
    machines = []
    for age_ms, text in told:
        if len(text) > SUMMARY_BYTES_MAX:
            continue
        try:
            machine = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if len(machine.name) <= NAME_MAX and machine.lights.keys() <= set(DEPENDENCIES):
            machines.append(msgspec.structs.replace(machine, age_ms=age_ms))
    return machines


def machine_name(ops_port: int) -> str:
    """Of this one: as its users know it, and the port that tells two on one host apart."""
    port = f":{ops_port}"
    return socket.gethostname()[: NAME_MAX - len(port)] + port
