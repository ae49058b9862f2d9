"""Many viewers of one stream, in a process of their own: they read, throw away, and count frames.  Linux only.

`python -m benchmarks.screen.viewers` reads one Job a line on stdin and writes one Done a line on stdout.

    watch    so many stay; the CPU of whoever serves them is read from its clocks meanwhile, by pid
    churn    so many at any time, each for 1-20 s: half end politely, half by RST, a few stop reading and stay
"""

import asyncio
import json
import os
import random
import re
import resource
import socket
import struct
import sys
import time
from collections.abc import Sequence
from itertools import count
from typing import Any, Final, TypedDict

import uvloop

from benchmarks import cpu

AT_ONCE: Final = 50  # who connect together: a listener's backlog is 128
STAY_S: Final = (1.0, 20.0)
DEAF: Final = 0.05  # of those who come
DEAF_S: Final = 60.0  # three times what the kernel waits for them
_DEAF_BUFFER: Final = 4_096
_GONE_S: Final = 5.0
_ID: Final = re.compile(rb"id: (\d+)\nevent: status\n")
_TAIL: Final = 48  # of what came last: an id may arrive in two pieces
_RST: Final = struct.pack("ii", 1, 0)


class Job(TypedDict):
    """Who look, at what, for how long."""

    kind: str  # watch, churn
    port: int
    path: str
    viewers: int
    settle_s: float  # after all are there
    seconds: float
    pid: int  # whose CPU is read
    seed: int


class Done(TypedDict):
    """What they saw."""

    seconds: float
    root_cpu_s: float  # of the process itself
    others_cpu_s: float  # of its children
    frames: tuple[int, int]  # of a viewer in that time: least, most
    gaps: int  # frames that others saw and one did not
    came: int
    deaf: int  # who did not read for DEAF_S
    let_go: int  # of them, by the server
    lost: int  # of the others: ended by the server
    cpu_share: float
    busy_share: float  # used or waited for


class Viewer(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._tail = b""
        self.ids: list[int] = []
        self.gone = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Keep the ids alone."""
        text = self._tail + data
        for match in _ID.finditer(text):
            number = int(match[1])
            if not self.ids or number != self.ids[-1]:
                self.ids.append(number)
        self._tail = text[-_TAIL:]

    def connection_lost(self, _: Exception | None) -> None:
        """By whomever."""
        self.gone.set()

    def hang_up(self, *, is_polite: bool) -> None:
        """FIN, or RST; nothing where the server was faster."""
        if self.gone.is_set():
            return
        if not is_polite:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self.transport.close()


class Crowd:
    """All of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._request = f"GET {job['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        self.viewers: list[Viewer] = []
        self.came = self.deaf = self.let_go = self.lost = 0

    async def come(self, buffer_bytes: int = 0) -> Viewer:
        """One more."""
        self.came += 1
        sock = socket.socket()
        sock.setblocking(False)
        if buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", self._job["port"]))
        _, viewer = await loop.create_connection(lambda: Viewer(self._request), sock=sock)
        return viewer

    async def watch(self) -> tuple[float, cpu.Spent, tuple[int, int]]:
        """All come, then time is taken."""
        job = self._job
        for first in range(0, job["viewers"], AT_ONCE):
            self.viewers += await asyncio.gather(*(self.come() for _ in range(min(AT_ONCE, job["viewers"] - first))))
        await asyncio.sleep(job["settle_s"])
        had, began_s, before = [len(one.ids) for one in self.viewers], time.monotonic(), cpu.read(job["pid"])
        await asyncio.sleep(job["seconds"])
        spent, seconds = cpu.spent(before, cpu.read(job["pid"])), time.monotonic() - began_s
        got = [len(one.ids) - start for one, start in zip(self.viewers, had, strict=True)] or [0]
        self.lost = sum(one.gone.is_set() for one in self.viewers)
        for one in self.viewers:
            one.hang_up(is_polite=True)
        await asyncio.gather(*(one.gone.wait() for one in self.viewers))
        return seconds, spent, (min(got), max(got))

    async def churn(self) -> None:
        """So many at any time, until the time is over."""
        seconds, numbers = self._job["seconds"], count()

        async def seat() -> None:
            while True:
                await self._visit(random.Random(f"{self._job['seed']} {next(numbers)}"))

        seats = [asyncio.create_task(seat()) for _ in range(self._job["viewers"])]
        await asyncio.wait(seats, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for one in seats:
            if one.done():
                one.result()  # nobody could come any more
            one.cancel()
        await asyncio.wait(seats)

    async def _visit(self, draw: random.Random) -> None:
        is_deaf, is_polite, stay_s = draw.random() < DEAF, draw.random() < 0.5, draw.uniform(*STAY_S)
        viewer = await self.come(_DEAF_BUFFER if is_deaf else 0)
        try:
            if is_deaf:
                await self._be_deaf(viewer)
            else:
                self.viewers.append(viewer)
                await asyncio.sleep(stay_s)
                self.lost += viewer.gone.is_set()
        finally:
            viewer.hang_up(is_polite=is_polite)

    async def _be_deaf(self, viewer: Viewer) -> None:
        viewer.transport.pause_reading()
        await asyncio.sleep(DEAF_S)
        self.deaf += 1
        viewer.transport.resume_reading()  # what is still there, and then that it was let go
        try:
            async with asyncio.timeout(_GONE_S):
                await viewer.gone.wait()
            self.let_go += 1
        except TimeoutError:
            pass


def gaps(viewers: Sequence[Sequence[int]]) -> int:
    """Frames that some viewer saw, and others missed between the first and the last they saw themselves."""
    number_of = {frame: number for number, frame in enumerate(sorted({frame for ids in viewers for frame in ids}))}
    return sum(number_of[ids[-1]] - number_of[ids[0]] + 1 - len(ids) for ids in viewers if ids)


async def drive(job: Job) -> Done:
    """One job, with the books of this process kept around it."""
    crowd, pid, began_s = Crowd(job), os.getpid(), time.perf_counter()
    used_ns, waited_ns = cpu.cpu_ns(pid), cpu.waited_ns(pid)
    seconds, spent, frames = job["seconds"], cpu.Spent(0, 0, 0), (0, 0)
    if job["kind"] == "watch":
        seconds, spent, frames = await crowd.watch()
    else:
        await crowd.churn()
    whole_s = time.perf_counter() - began_s
    used_s, waited_s = (cpu.cpu_ns(pid) - used_ns) / 1e9, (cpu.waited_ns(pid) - waited_ns) / 1e9
    return Done(
        seconds=seconds,
        root_cpu_s=spent.root_cpu_ns / 1e9,
        others_cpu_s=(spent.cpu_ns - spent.root_cpu_ns) / 1e9,
        frames=frames,
        gaps=gaps([one.ids for one in crowd.viewers]),
        came=crowd.came,
        deaf=crowd.deaf,
        let_go=crowd.let_go,
        lost=crowd.lost,
        cpu_share=used_s / whole_s,
        busy_share=(used_s + waited_s) / whole_s,
    )


def main() -> None:
    """Do jobs until stdin ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(uvloop.run(drive(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
