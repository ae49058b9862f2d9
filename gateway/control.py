"""What supervisor and worker say to each other: JSON lines over an inherited socket pair.

The end of the stream is a message too: a worker whose supervisor is gone ends
by itself, and a supervisor sees its worker's end.

    supervisor → worker   Setup (first, once), Adopt, Release, Reload, Acted, Drain
    worker → supervisor   Ready, Unfit
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from msgspec import Struct

from gateway.config import Config, Limits, Room
from gateway.core.sign import Acts
from gateway.keys import Keys

LINE_BYTES_MAX: Final = 1_048_576  # a Setup holds settings and keys: some kilobytes


class Setup(Struct, tag=True, frozen=True):
    """Everything a worker is: it reads no file and no environment."""

    index: int
    config: Config
    keys: Keys
    limits_secret: bytes  # the one the supervisor began with: another would give everybody new buckets
    spool_secrets: tuple[bytes, ...]  # the one to seal with first; none where no spool is kept
    board_fd: int
    listener_fds: tuple[int, ...]
    # At the very first start wrong topics stop everything; later they are only shown red.
    is_first: bool


class Adopt(Struct, tag=True, frozen=True):
    """Accept from this listener as well: its own worker is gone."""

    listener: int


class Release(Struct, tag=True, frozen=True):
    """Its own worker is back: accept from this listener no longer."""

    listener: int


class Reload(Struct, tag=True, frozen=True):
    """Use these keys, limits and settings of the room, and read the notices file again."""

    keys: Keys
    limits: Limits
    notices_file: str
    room: Room


class Acted(Struct, tag=True, frozen=True):
    """What the operator of the waiting room said last; past its store, which may be away."""

    acts: Acts


class Drain(Struct, tag=True, frozen=True):
    """Serve on with Connection: close, then stop accepting, finish, flush and exit 0."""


class Ready(Struct, tag=True, frozen=True):
    """The worker accepts connections."""


class Unfit(Struct, tag=True, frozen=True):
    """The worker cannot start with these settings; it exits 2."""

    why: str


ToWorker = Setup | Adopt | Release | Reload | Acted | Drain
ToSupervisor = Ready | Unfit

encode = msgspec.json.encode
_to_worker = msgspec.json.Decoder(ToWorker)
_to_supervisor = msgspec.json.Decoder(ToSupervisor)


def send(writer: asyncio.StreamWriter, message: ToWorker | ToSupervisor) -> None:
    """Queue one message; a peer that is gone is noticed by whoever reads."""
    writer.write(encode(message) + b"\n")


async def for_worker(reader: asyncio.StreamReader) -> AsyncIterator[ToWorker]:
    """What the supervisor says, until it is gone; killed while we wrote to it, it leaves a broken pipe."""
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            yield _to_worker.decode(line)


async def for_supervisor(reader: asyncio.StreamReader) -> AsyncIterator[ToSupervisor]:
    """What one worker says, until it is gone."""
    while line := await reader.readline():
        yield _to_supervisor.decode(line)
