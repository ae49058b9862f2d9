"""The load generator's own process: N keep-alive connections, each sends as soon as it is answered.

Closed loop, raw protocol, uvloop; requests are ready-made bytes and answers are read by
response.py.  Reads one job a line on stdin and writes one answer a line on stdout:

    {"port": 8080, "traffic": "<path of a traffic file>", "connections": 64, "seconds": 1.5}
    {"statuses": {"202": 31000}, "spooled": 0, "lost": 0, "seconds": 1.5,
     "p50_ms": 2.1, "p99_ms": 4.0, "cpu_share": 0.4, "busy_share": 0.5, "error": ""}

`lost` are requests without an answer: a closed connection, or silence for PATIENCE_S after the
end.  `busy_share` is the share of one core used or waited for (see measure.py).
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TypedDict, cast

import uvloop

from benchmarks import cpu, measure, traffic
from benchmarks.response import ResponseReader, UnreadableResponseError

# The gateway itself answers within 5 s; whoever is silent for longer will not answer.
PATIENCE_S = 10.0
# What the gateway says when the answer did not come from Kafka (promise 1 of DESIGN 2).
SPOOL_MARK = b'"durability":"spool"'


class Job(TypedDict):
    """One round of load."""

    port: int
    traffic: str
    connections: int
    seconds: float


class Answered(TypedDict):
    """What a round came to."""

    statuses: dict[str, int]
    spooled: int
    lost: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_share: float
    busy_share: float
    error: str


class Tally:
    """What all connections of a round have counted together."""

    def __init__(self, ends_at_s: float) -> None:
        """Count until `ends_at_s` on the performance counter."""
        self.ends_at_s = ends_at_s
        self.statuses: Counter[int] = Counter()
        self.latencies_s: list[float] = []
        self.spooled = 0
        self.lost = 0
        self.error = ""


class Connection(asyncio.Protocol):
    """One member's phone: the next request leaves with the last one's answer."""

    def __init__(self, requests: list[bytes], tally: Tally, ended: asyncio.Future[None]) -> None:
        """Take the requests to cycle through and the future to settle at the end."""
        self._requests, self._tally, self._ended = requests, tally, ended
        self._reader = ResponseReader()
        self._next = 0
        self._is_waiting = False
        self._sent_at_s = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        # A cast, as uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._send(time.perf_counter())

    def data_received(self, data: bytes) -> None:
        """Count what was answered; send again, or close when the time is over."""
        tally = self._tally
        try:
            statuses = self._reader.feed(data)
        except UnreadableResponseError as error:
            tally.error = str(error)
            self._transport.abort()
            return
        tally.spooled += SPOOL_MARK in data
        for status in statuses:
            now_s = time.perf_counter()
            tally.statuses[status] += 1
            tally.latencies_s.append(now_s - self._sent_at_s)
            if now_s < tally.ends_at_s:
                self._send(now_s)
            else:
                self._is_waiting = False
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the request that will not be answered any more."""
        if self._is_waiting:
            self._tally.lost += 1
            self._tally.error = self._tally.error or f"connection closed by the server: {exc!r}"
        if not self._ended.done():
            self._ended.set_result(None)

    def _send(self, now_s: float) -> None:
        self._sent_at_s = now_s
        self._is_waiting = True
        self._transport.write(self._requests[self._next])
        self._next = (self._next + 1) % len(self._requests)


async def drive(job: Job, requests: list[bytes]) -> tuple[Tally, float]:
    """Open all connections, let them run, and return what they counted and how long it took."""
    loop = asyncio.get_running_loop()
    started_s = time.perf_counter()
    tally = Tally(started_s + job["seconds"])
    transports, ends = [], []
    for number in range(job["connections"]):
        ended = loop.create_future()
        mine = requests[number :: job["connections"]]
        transport, _ = await loop.create_connection(partial(Connection, mine, tally, ended), "127.0.0.1", job["port"])
        transports.append(transport)
        ends.append(ended)
    _, silent = await asyncio.wait(ends, timeout=job["seconds"] + PATIENCE_S)
    for transport in transports if silent else []:
        transport.abort()  # which counts its request as lost
    await asyncio.gather(*ends)
    return tally, time.perf_counter() - started_s


def run(job: Job, requests: list[bytes]) -> Answered:
    """Do one job, with the books of this process kept around it."""
    pid = os.getpid()
    cpu_before_ns, waited_before_ns = cpu.cpu_ns(pid), cpu.waited_ns(pid)
    try:
        tally, seconds = uvloop.run(drive(job, requests))
    except OSError as error:
        tally, seconds = Tally(0), job["seconds"]
        tally.error = f"port {job['port']}: {error}"
    used_s = (cpu.cpu_ns(pid) - cpu_before_ns) / 1e9
    waited_s = (cpu.waited_ns(pid) - waited_before_ns) / 1e9
    ordered_s = sorted(tally.latencies_s)
    return Answered(
        statuses={str(status): count for status, count in tally.statuses.items()},
        spooled=tally.spooled,
        lost=tally.lost,
        seconds=seconds,
        p50_ms=measure.percentile(ordered_s, 0.50) * 1000,
        p99_ms=measure.percentile(ordered_s, 0.99) * 1000,
        cpu_share=used_s / seconds,
        busy_share=(used_s + waited_s) / seconds,
        error=tally.error,
    )


def main() -> None:
    """Do jobs until stdin ends."""
    requests_of: dict[str, list[bytes]] = {}
    for line in sys.stdin:
        job: Job = json.loads(line)
        path = job["traffic"]
        if path not in requests_of:
            requests_of[path] = traffic.unframed(Path(path).read_bytes())
        sys.stdout.write(json.dumps(run(job, requests_of[path])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
