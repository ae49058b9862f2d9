"""The stack: which servers, where, started together and ended together.

    lock the data directory → lease ports → start both at once → create the topics
    … the body of the `async with` …
    stop both at once → let go of ports and lock

Every step undoes itself when a later one fails or is cancelled (Ctrl-C while the jars are
being downloaded), and the guards see to the rest when this process is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Self

from .errors import DevstackError, InUse
from .kafka import Kafka, our_kafka
from .locks import FileLock, holder_pid
from .ports import KAFKA_PORT, REDIS_PORT, lease_port
from .topics import DEFAULT_TOPICS, Topic, create_topics
from .valkey import Valkey, our_valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

# A stack that was killed holds its directory until its guards have ended the servers:
# Kafka's grace of 20 s and some room.
_LOCK_WAIT_S = 30.0
_LOCK_EVERY_S = 0.1


def print_to_stderr(line: str) -> None:
    """Say a line where it does not mix with a child's output."""
    print(f"devstack: {line}", file=sys.stderr, flush=True)


def lock_path(data_dir: Path) -> Path:
    """Name the file whose lock says that a stack lives in `data_dir`."""
    return data_dir / "lock"


class Devstack:
    """A real Redis and a real Kafka for the length of an `async with`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        kafka: bool = True,
        redis: bool = True,
        topics: Sequence[Topic] = DEFAULT_TOPICS,
        redis_url: str | None = None,
        kafka_bootstrap: str | None = None,
        redis_binary: Path | None = None,
        fast_stop: bool = False,
        say: Callable[[str], None] = print_to_stderr,
    ) -> None:
        """Decide what to start; nothing happens before `async with`.

        `redis_url` and `kafka_bootstrap` name servers that exist: those are used instead
        of ours.  `fast_stop` ends ours with SIGKILL, for data nobody will read again.
        `say` gets the lines of progress.
        """
        # Absolute: servers, guards and the keeper need not share our working directory.
        self.data_dir = data_dir.absolute()
        self._wants_kafka, self._wants_redis = kafka, redis
        self._topics = tuple(topics)
        self._redis_url, self._kafka_bootstrap = redis_url, kafka_bootstrap
        self._redis_binary = redis_binary
        self._fast_stop = fast_stop
        self._say = say
        self._kafka: Kafka | None = None
        self._redis: Valkey | None = None
        self._undo = contextlib.AsyncExitStack()

    @property
    def kafka(self) -> Kafka:
        """The broker.

        Raises:
            DevstackError: the stack was made with kafka=False.
        """
        if self._kafka is None:
            raise DevstackError("this devstack has no kafka (kafka=False, or not started)")
        return self._kafka

    @property
    def redis(self) -> Valkey:
        """The Redis.

        Raises:
            DevstackError: the stack was made with redis=False.
        """
        if self._redis is None:
            raise DevstackError("this devstack has no redis (redis=False, or not started)")
        return self._redis

    @property
    def servers(self) -> list[Kafka | Valkey]:
        """Those of the two that this stack has."""
        return [server for server in (self._kafka, self._redis) if server is not None]

    async def create_topic(self, topic: Topic) -> None:
        """Create a topic unless it exists, and wait until its partitions have leaders.

        Raises:
            DevstackError: the broker refused it.
        """
        await create_topics(self.kafka.bootstrap, [topic])

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            InUse: another stack lives in the data directory.
            MissingPart: a wheel or the jars are not there.
            StartFailed: a server died or did not answer in time.
        """
        try:
            held_fds = await self._lock_data_dir()
            async with asyncio.TaskGroup() as both:
                if self._wants_redis:
                    both.create_task(self._start_redis(held_fds))
                if self._wants_kafka:
                    both.create_task(self._start_kafka(held_fds))
        except BaseExceptionGroup as failures:
            await self._undo.aclose()
            # The first failure; the other task was cancelled because of it.
            raise failures.exceptions[0] from None
        except BaseException:
            await self._undo.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what is ours; never raises for a server that is already gone."""
        # Both at once: Kafka takes seconds to end.
        await asyncio.gather(*(server.stop() for server in self.servers))
        await self._undo.aclose()

    async def _lock_data_dir(self) -> tuple[int, ...]:
        lock, has_said = FileLock(lock_path(self.data_dir)), False
        try:
            async with asyncio.timeout(_LOCK_WAIT_S):
                while not lock.try_take():
                    pid = holder_pid(lock_path(self.data_dir))
                    if pid is not None and _is_alive(pid):
                        raise InUse(f"process {pid} runs a devstack in {self.data_dir}: stop it (python -m devstack down), or use another --data-dir")
                    if not has_said:
                        self._say("waiting for the servers of a killed devstack to end")
                        has_said = True
                    await asyncio.sleep(_LOCK_EVERY_S)
        except TimeoutError as error:
            raise InUse(f"{self.data_dir} is still locked after {_LOCK_WAIT_S:.0f} s") from error
        self._undo.callback(lock.release)
        return (lock.fd,)

    def _lease_port(self, usual: int | None = None) -> int:
        lease = lease_port(usual)
        self._undo.callback(lease.release)
        return lease.port

    async def _start_redis(self, held_fds: tuple[int, ...]) -> None:
        if self._redis_url is not None:
            redis = Valkey(self._redis_url)
        else:
            redis = our_valkey(
                self.data_dir / "redis",
                self._lease_port(REDIS_PORT),
                self._lease_port(),
                binary=self._redis_binary,
                fast_stop=self._fast_stop,
                held_fds=held_fds,
            )
        self._undo.push_async_callback(redis.stop)
        await redis.start()
        self._redis = redis

    async def _start_kafka(self, held_fds: tuple[int, ...]) -> None:
        if self._kafka_bootstrap is not None:
            kafka = Kafka(self._kafka_bootstrap)
        else:
            kafka = await our_kafka(
                self.data_dir / "kafka",
                self._lease_port(KAFKA_PORT),
                self._lease_port(),
                self._say,
                fast_stop=self._fast_stop,
                held_fds=held_fds,
            )
        self._undo.push_async_callback(kafka.stop)
        await kafka.start()
        await create_topics(kafka.bootstrap, self._topics)
        self._kafka = kafka


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
