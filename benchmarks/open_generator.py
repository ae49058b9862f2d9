"""The open-model load generator's own process: requests leave when they are due, answered or not.

Reads one job a line on stdin and writes one line on stdout:

    {"port": 8080, "streams": [{"traffic": "<path>", "phases": [[4, 500], [10, 500]]}],
     "patience_s": 5, "is_obedient": false, "seed": 1, "connections": 64, "tries": "<path to write>"}
    {"connections_max": 80, "starved": 0, "cpu_share": 0.4, "busy_share": 0.5, "error": ""}

What became of each try goes to the file (arrivals.py).  A client gives up after `patience_s` and
hangs up; an obedient one that is refused comes back after Retry-After, until the job's time is over.
A keep-alive connection carries one request at a time; when none is idle another is opened.
`starved` are requests for which no further connection was allowed: they waited here, not there.
"""

import asyncio
import gc
import heapq
import json
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypedDict, cast

import uvloop

from benchmarks import cpu, traffic
from benchmarks.arrivals import CLOSED, GAVE_UP, NO_RETRY_AFTER, Phase, Try, due_times, packed
from benchmarks.response import ResponseReader, UnreadableResponseError

CONNECTIONS_MAX: Final = 12_000  # the gateway takes 10,000, and says so to the next
_TICK_S: Final = 0.001
_RETRY_AFTER: Final = b"Retry-After: "


class Stream(TypedDict):
    """One kind of request."""

    traffic: str
    phases: list[tuple[float, float]]


class Job(TypedDict):
    """All that is to be sent."""

    port: int
    streams: list[Stream]
    patience_s: float
    is_obedient: bool
    seed: int
    connections: int
    tries: str


class Done(TypedDict):
    """What the generator says of itself."""

    connections_max: int
    starved: int
    cpu_share: float
    busy_share: float
    error: str


class Request:
    """One try, on its way."""

    __slots__ = ("connection", "content", "due_s", "is_done", "late_s", "stream", "tries")

    def __init__(self, due_s: float, stream: int, content: bytes, tries: int = 1) -> None:
        self.due_s, self.stream, self.content, self.tries = due_s, stream, content, tries
        self.late_s = 0.0
        self.is_done = False
        self.connection: Connection | None = None

    def __lt__(self, other: "Request") -> bool:
        return self.due_s < other.due_s


class Connection(asyncio.Protocol):
    """One keep-alive connection, with at most one request on it."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._reader = ResponseReader()
        self._seen = b""
        self._request: Request | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, as uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._crowd.is_free(self)

    @property
    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def send(self, request: Request) -> None:
        self._request = request
        request.connection = self
        self._transport.write(request.content)

    def abort(self) -> None:
        self._request = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        seen = self._seen + data if self._seen else data
        try:
            statuses = self._reader.feed(data)
        except UnreadableResponseError as error:
            self._crowd.error = str(error)
            self._transport.abort()
            return
        if not statuses:
            self._seen = seen
            return
        self._seen = b""
        request, self._request = self._request, None
        if request is None and statuses == [503]:
            return  # more connections than it takes: it says so, and closes
        if request is None or len(statuses) > 1:
            self._crowd.error = f"an answer nobody asked for: {seen[:80]!r}"
            self._transport.abort()
            return
        self._crowd.answered(request, statuses[0], retry_after_s(seen) if statuses[0] >= 400 else NO_RETRY_AFTER)
        self._crowd.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._request is not None:
            self._crowd.answered(self._request, CLOSED, NO_RETRY_AFTER)
        self._crowd.is_gone()


class Crowd:
    """Everybody who sends, and what has become of it."""

    def __init__(self, job: Job, ends_s: float) -> None:
        self._port, self._patience_s, self._is_obedient, self._ends_s = job["port"], job["patience_s"], job["is_obedient"], ends_s
        self._idle: list[Connection] = []
        self._line: deque[Request] = deque()  # those who wait for a connection
        self._open = self._opening = 0
        self._openings: set[asyncio.Task[None]] = set()
        self._outstanding: deque[Request] = deque()
        self._began_s = 0.0
        self.returning: list[Request] = []
        self.tries: list[Try] = []
        self.connections_max = self.starved = 0
        self.error = ""

    async def begin(self, connections: int) -> None:
        """Open the first connections; then time runs."""
        for _ in range(connections):
            self._connect()
        await asyncio.gather(*self._openings)
        self._began_s = time.perf_counter()

    @property
    def now_s(self) -> float:
        """Since the job began."""
        return time.perf_counter() - self._began_s

    @property
    def is_done(self) -> bool:
        """Everybody has an answer or has given up."""
        return not self._outstanding

    def send(self, request: Request, now_s: float) -> None:
        """Let it go, on an idle connection or on one that is opened for it."""
        request.late_s = now_s - request.due_s
        self._outstanding.append(request)
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closing:
                connection.send(request)
                return
        self._line.append(request)
        if self._open + self._opening < CONNECTIONS_MAX:
            self._connect()
        else:
            self.starved += 1

    def _connect(self) -> None:
        self._opening += 1
        task = asyncio.get_running_loop().create_task(self._connected())
        self._openings.add(task)
        task.add_done_callback(self._openings.discard)

    async def _connected(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Connection(self), "127.0.0.1", self._port)
        except OSError as error:
            self.error = f"port {self._port}: {error}"
        else:
            self._open += 1
            self.connections_max = max(self.connections_max, self._open)
        finally:
            self._opening -= 1

    def is_free(self, connection: Connection) -> None:
        """It can carry the next one."""
        while self._line:
            request = self._line.popleft()
            if not request.is_done:
                connection.send(request)
                return
        self._idle.append(connection)

    def is_gone(self) -> None:
        self._open -= 1

    def answered(self, request: Request, status: int, retry_after: int) -> None:
        """Write down what became of it; an obedient client that is refused comes back."""
        request.is_done = True
        now_s = self.now_s
        self.tries.append(Try(request.stream, min(request.tries, 255), status, request.due_s, now_s - request.due_s, request.late_s, retry_after))
        if self._is_obedient and status in (429, 503) and retry_after > 0 and now_s + retry_after < self._ends_s:
            heapq.heappush(self.returning, Request(now_s + retry_after, request.stream, request.content, request.tries + 1))

    def give_up(self, now_s: float) -> None:
        """Those who have waited for too long hang up.  They stand in the order in which they were due, or nearly."""
        waiting = self._outstanding
        while waiting and (waiting[0].is_done or now_s - waiting[0].due_s >= self._patience_s):
            request = waiting.popleft()
            if not request.is_done:
                self.answered(request, GAVE_UP, NO_RETRY_AFTER)
                if request.connection is not None:
                    request.connection.abort()

    async def close(self) -> None:
        for connection in self._idle:
            connection.abort()
        await asyncio.sleep(0.05)


def retry_after_s(answer: bytes) -> int:
    """The seconds of Retry-After; NO_RETRY_AFTER where it has none."""
    begin = answer.find(_RETRY_AFTER)
    if begin < 0:
        return NO_RETRY_AFTER
    return int(answer[begin + len(_RETRY_AFTER) : answer.index(b"\r\n", begin)])


def schedule(job: Job, contents: Callable[[str], list[bytes]]) -> tuple[list[Request], float]:
    """All first tries in order, and when the last phase ends."""
    requests: list[Request] = []
    ends_s = 0.0
    for number, stream in enumerate(job["streams"]):
        draw = random.Random(job["seed"] * 1_000 + number)
        texts = contents(stream["traffic"])
        phases = [Phase(*phase) for phase in stream["phases"]]
        requests += [Request(due_s, number, draw.choice(texts)) for due_s in due_times(phases, job["seed"] * 1_000 + 500 + number)]
        ends_s = max(ends_s, sum(phase.seconds for phase in phases))
    return sorted(requests), ends_s


async def drive(job: Job, requests: list[Request], ends_s: float) -> Crowd:
    """Send each when it is due, until all are answered or have given up."""
    crowd = Crowd(job, ends_s)
    await crowd.begin(job["connections"])
    first = deque(requests)
    returning = crowd.returning
    while first or returning or not crowd.is_done:
        now_s = crowd.now_s
        while first and first[0].due_s <= now_s:
            crowd.send(first.popleft(), now_s)
        while returning and returning[0].due_s <= now_s:
            crowd.send(heapq.heappop(returning), now_s)
        crowd.give_up(now_s)
        await asyncio.sleep(_TICK_S)
    await crowd.close()
    return crowd


def run(job: Job, contents: Callable[[str], list[bytes]]) -> Done:
    """Do one job, with the books of this process kept around it."""
    requests, ends_s = schedule(job, contents)
    # Nothing here is a cycle worth a pause of all that is due meanwhile.
    gc.collect()
    gc.freeze()
    gc.disable()
    pid = os.getpid()
    before_s, before = time.perf_counter(), (cpu.cpu_ns(pid), cpu.waited_ns(pid))
    crowd = uvloop.run(drive(job, requests, ends_s))
    seconds = time.perf_counter() - before_s
    used_s, waited_s = (cpu.cpu_ns(pid) - before[0]) / 1e9, (cpu.waited_ns(pid) - before[1]) / 1e9
    gc.enable()
    Path(job["tries"]).write_bytes(packed(crowd.tries))
    return Done(
        connections_max=crowd.connections_max,
        starved=crowd.starved,
        cpu_share=used_s / seconds,
        busy_share=(used_s + waited_s) / seconds,
        error=crowd.error,
    )


def main() -> None:
    """Do jobs until stdin ends."""
    requests_of: dict[str, list[bytes]] = {}

    def contents(path: str) -> list[bytes]:
        if path not in requests_of:
            requests_of[path] = traffic.unframed(Path(path).read_bytes())
        return requests_of[path]

    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line), contents)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
