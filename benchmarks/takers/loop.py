"""The load: N tasks in the arm's own process, each asks again as soon as it is answered.

The loop is part of what is counted, and the same lines for every arm: two reads of a clock, an append and an `await`
of one coroutine function.  So a ratio between arms is, if anything, smaller than that of the limiters alone.

Tasks that are answered together ask again together.  For a limiter that shares calls, ours, that is the best case:
64 tasks are one call of 64.  What a decision costs where nothing can be shared is the figure at concurrency 1.

CPU is the process's own clock (all its threads) right around the loop, the server's likewise.
"""

import asyncio
import os
import time
from itertools import cycle
from typing import Final, TypedDict

from benchmarks import cpu, measure
from benchmarks.takers import Take

IDENTITIES: Final = 1_000


class Job(TypedDict):
    """One round."""

    concurrency: int
    seconds: float
    server_pid: int


class Answered(TypedDict):
    """What a round came to."""

    decisions: int
    refused: int  # or granted by something other than the store
    seconds: float
    client_cpu_us: float
    server_cpu_us: float
    p50_ms: float
    p99_ms: float
    error: str


def broken(error: str) -> Answered:
    """Return the answer of a round in which nothing was measured."""
    return Answered(decisions=0, refused=0, seconds=0.0, client_cpu_us=0.0, server_cpu_us=0.0, p50_ms=0.0, p99_ms=0.0, error=error)


async def run(take: Take, job: Job) -> Answered:
    """Do one round with the books kept around it."""
    tasks, pid = job["concurrency"], os.getpid()
    names = [f"user:{number}" for number in range(IDENTITIES)]
    latencies_s: list[float] = []
    refused: list[str] = []
    client_ns, server_ns = cpu.cpu_ns(pid), cpu.cpu_ns(job["server_pid"])
    started_s = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(tasks):
                group.create_task(ask(take, names[number::tasks], started_s + job["seconds"], latencies_s, refused))
    except ExceptionGroup as errors:
        # All of them have met the same; the first one says it.
        return broken(f"{type(errors.exceptions[0]).__name__}: {errors.exceptions[0]}")
    elapsed_s = time.perf_counter() - started_s
    client_ns, server_ns = cpu.cpu_ns(pid) - client_ns, cpu.cpu_ns(job["server_pid"]) - server_ns
    latencies_s.sort()
    return Answered(
        decisions=len(latencies_s),
        refused=len(refused),
        seconds=elapsed_s,
        client_cpu_us=client_ns / 1e3,
        server_cpu_us=server_ns / 1e3,
        p50_ms=measure.percentile(latencies_s, 0.50) * 1e3,
        p99_ms=measure.percentile(latencies_s, 0.99) * 1e3,
        error="",
    )


async def ask(take: Take, names: list[str], ends_at_s: float, latencies_s: list[float], refused: list[str]) -> None:
    """Ask for one name after the other until the time is over; once at least."""
    asked_s = time.perf_counter()
    for name in cycle(names):
        if not await take(name):
            refused.append(name)
        now_s = time.perf_counter()
        latencies_s.append(now_s - asked_s)
        if now_s >= ends_at_s:
            return
        asked_s = now_s
