"""A real gateway with a line, what its operators' port says, and one viewer that notes when each frame came.  Linux only."""

import asyncio
import contextlib
import dataclasses
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp

from benchmarks import bench_line, cpu, servers, sut
from benchmarks.command import say
from devstack import Devstack

ROOM: Final = bench_line.ROOM
WORKERS: Final = 2
LOOK_S: Final = 0.01
PATIENCE_S: Final = 60.0  # for whatever is promised within seconds: beyond, it never happened


class Stage(NamedTuple):
    """What all parts share."""

    directory: Path
    stack: Devstack
    apart: frozenset[int]  # the core of servers that are measured alone
    cores: frozenset[int]  # all there are


class Gateway:
    """A running one, as its operator reaches it."""

    def __init__(self, server: servers.Server, command: servers.Command, token: str, session: aiohttp.ClientSession) -> None:
        self.public = f"http://127.0.0.1:{server.port}"
        self.command = command
        self.ops = f"http://{command.environment['GATEWAY_OPS_BIND']}"
        self.ops_port = int(self.ops.rpartition(":")[2])
        self.pid = server.process.pid
        self._bearer = {"Authorization": f"Bearer {token}"}
        self.session = session

    async def get(self, path: str) -> Any:
        """JSON of the operators' port, whatever its status."""
        async with self.session.get(self.ops + path, headers=self._bearer) as answer:
            return await answer.json(content_type=None)

    async def tell(self, **fields: object) -> None:
        """An operator's act.  Raises ServerError where it is not in force."""
        act = {"reason": "a measurement", **fields}
        async with self.session.post(f"{self.ops}/api/rooms/{ROOM}", json=act, headers=self._bearer) as answer:
            if answer.status != 200:
                raise servers.ServerError(f"the act {act} is answered {answer.status}: {await answer.text()}")

    def worker_pids(self) -> list[int]:
        """Of the workers that run now."""
        pids = []
        for pid in cpu.tree(self.pid, cpu.parents())[1:]:
            with contextlib.suppress(OSError):  # it has ended since
                if b"worker" in (cpu.PROC / str(pid) / "cmdline").read_bytes().split(b"\0"):
                    pids.append(pid)
        return pids


@asynccontextmanager
async def running(stage: Stage, name: str, room: Mapping[str, object], *, is_apart: bool = False) -> AsyncIterator[Gateway]:
    """One with a line of its own, on all cores or on the servers' alone."""
    token = sut.base64url(sut.new_secret())
    command = _command(stage, name, room, token)
    server = await servers.start(name, command, stage.apart if is_apart else stage.cores, stage.directory / f"{name}.log")
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
            yield Gateway(server, command, token, session)
    finally:
        await servers.stop(server)
        if errors := [text for text in servers.lines(server.log) if '"level": "error"' in text]:
            say(f"{name} logged {len(errors)} errors; the last: {errors[-1]}")


def _command(stage: Stage, name: str, room: Mapping[str, object], token: str) -> servers.Command:
    """How it is started: as it is measured elsewhere, and with an operators' token."""
    command = sut.command(sut.ROOT, stage.directory / name, sut.Addresses(stage.stack.kafka.bootstrap, stage.stack.redis.url), sut.new_secret())
    path, keys = stage.directory / f"{name}.toml", Path(command.environment["GATEWAY_KEYS_FILE"])
    path.write_text(bench_line.settings({"epoch": time.time_ns() // 1_000_000, **room}, "signups.v1"))
    keys.write_text(json.dumps(json.loads(keys.read_text()) | {"ops": token}))
    environment = command.environment | {"GATEWAY_WORKERS": f"{WORKERS}"}
    return dataclasses.replace(command, argv=(*command.argv[:3], "--config", str(path)), environment=environment)


# One viewer


class Seen(NamedTuple):
    """A frame, and when it was there: by the clock of intervals, and by everybody's."""

    at_s: float
    wall_s: float
    count_bytes: int  # of the event, its id and name among them
    frame: dict[str, Any]


class Watcher:
    """Looks at the stream for as long as it is open, and keeps all it saw."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    async def first(self, is_so: Callable[[dict[str, Any]], bool], after_s: float) -> float:
        """When the first frame after that instant came of which this is true; infinity: never."""
        looked, until_s = 0, time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            for one in self.seen[looked:]:
                if one.at_s >= after_s and is_so(one.frame):
                    return one.at_s
            looked = len(self.seen)
            await asyncio.sleep(LOOK_S)
        return float("inf")

    async def read(self, gateway: Gateway) -> None:
        """Until cancelled, or the stream ends."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with gateway.session.get(f"{gateway.ops}/api/stream", timeout=timeout) as answer:
            event = list[bytes]()
            async for line in answer.content:
                event.append(line)
                if line == b"\n":
                    if b"event: status\n" in event:
                        self._note(event)
                    event.clear()

    def _note(self, event: list[bytes]) -> None:
        now_s, wall_s = time.monotonic(), time.time()
        text = next(line for line in event if line.startswith(b"data: "))
        self.seen.append(Seen(now_s, wall_s, sum(map(len, event)), json.loads(text[6:])))


@asynccontextmanager
async def watching(gateway: Gateway) -> AsyncIterator[Watcher]:
    """A viewer, from its first frame on.  Raises ServerError: its stream ended."""
    watcher = Watcher()
    reading = asyncio.create_task(watcher.read(gateway))
    try:
        await watcher.first(lambda _: True, 0.0)
        yield watcher
        if reading.done():
            raise servers.ServerError(f"the stream ended: {reading.exception()}")
    finally:
        reading.cancel()
        await asyncio.wait([reading])


def rss_kb(pid: int) -> float:
    """Resident memory of one process."""
    return int((cpu.PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1_000


def descriptors(pid: int) -> int:
    """How many it has open."""
    return sum(1 for _ in (cpu.PROC / str(pid) / "fd").iterdir())
