"""Parts b and c: what a thousand viewers cost, beside a stream as one would write it first; and whether coming and going leaves anything behind."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final

from benchmarks import load, servers, sut
from benchmarks.command import say
from benchmarks.measure import FULL_SHARE
from benchmarks.overload_report import Verdict, aligned
from benchmarks.screen import viewers
from benchmarks.screen.gateway import WORKERS, Gateway, Stage, descriptors, rss_kb, running, watching
from benchmarks.screen.report import COSTS_HEADINGS, Costs, Found, Memory, cost_cells, cost_verdicts, memory_lines, memory_verdicts

VIEWERS: Final = 1_000
SETTLE_S: Final = 3.0  # after all are there: greetings are written, collectors have run
SEATS: Final = 200
SAMPLES: Final = 10
_CLOSED_S: Final = 30.0
_ROOM: Final = {"floor_per_s": 5, "ceiling_per_s": 100}
_CONNECT_S: Final = 30.0  # a thousand, on a busy machine
_SHARED: Final = """\
b: the servers have one core; viewers, Kafka and Redis the other. On loopback the kernel does a viewer's receiving within the server's
b: write, so the server is charged for both ends of the wire, gateway and peer alike: over a network card a write costs less"""
_VOID_MINUTES: Final = 10.0  # under so many pages of memory come and go more than anything grows


def _job(kind: str, port: int, count: int, seconds: float, pid: int, seed: int = 1) -> viewers.Job:
    return viewers.Job(kind=kind, port=port, path="/api/stream", viewers=count, settle_s=SETTLE_S, seconds=seconds, pid=pid, seed=seed)


# b


async def costs(stage: Stage, rounds: int, seconds: float, found: Found) -> None:
    """Nobody, a thousand, and a thousand of the other stream, interleaved."""
    piped, measured = load.Piped("benchmarks.screen.viewers"), list[Costs]()
    async with AsyncExitStack() as cleanup:
        cleanup.push_async_callback(piped.close)
        gateway = await cleanup.enter_async_context(running(stage, "b", _ROOM, is_apart=True))
        command = sut.peer_command("stream", sut.NOWHERE, sut.new_secret())
        peer = await servers.start("stream", command, stage.apart, stage.directory / "stream.log")
        cleanup.push_async_callback(servers.stop, peer)
        frame = await gateway.get("/api/status")
        async with gateway.session.put(f"http://127.0.0.1:{peer.port}/frame", json=frame) as answer:
            answer.raise_for_status()
        for number in range(rounds):
            asked = ((gateway.ops_port, 0, gateway.pid), (gateway.ops_port, VIEWERS, gateway.pid), (peer.port, VIEWERS, peer.process.pid))
            dones = []
            for port, count, pid in asked:
                done: viewers.Done = await piped.ask(_job("watch", port, count, seconds, pid), seconds + SETTLE_S + _CONNECT_S)
                dones.append(done)
            measured.append(Costs(*dones))
            one = measured[-1]
            say(f"b: round {number + 1} of {rounds}: {one.idle_s:.3f}, {one.watched_s:.3f}, {one.peer_s:.3f} CPU s/s; {one.watched['gaps']} gaps")
        size, worker = await _frame_bytes(gateway)
    busy = max(done["busy_share"] for one in measured for done in (one.watched, one.peer))
    found.tables.append(
        f"b: CPU seconds per second, median [low, high] of {rounds} rounds of {seconds:g} s\n{aligned([COSTS_HEADINGS, *cost_cells(measured)])}"
    )
    found.verdicts += cost_verdicts(measured, size, f"the viewers' process was busy {busy:.0%} of the time" if busy > FULL_SHARE else "")
    found.remarks += [
        f"b: a frame of {WORKERS} workers has {size:,} bytes, each further worker about {worker}; the viewers' process was busy {busy:.0%} of a core at most",
        _SHARED,
    ]


async def _frame_bytes(gateway: Gateway) -> tuple[int, int]:
    """Of the largest of three frames as it is sent, and of one worker in it."""
    async with watching(gateway) as watcher:
        await asyncio.sleep(3.0)
    workers = watcher.seen[-1].frame["workers"]
    return max(one.count_bytes for one in watcher.seen), len(str(workers[0]).replace(" ", ""))


# c


async def memory(stage: Stage, minutes: float, seed: int, found: Found) -> None:
    """Beside a gateway nobody looks at: the history of either grows for an hour."""
    piped = load.Piped("benchmarks.screen.viewers")
    async with AsyncExitStack() as cleanup:
        cleanup.push_async_callback(piped.close)
        watched = await cleanup.enter_async_context(running(stage, "c-watched", _ROOM))
        alone = await cleanup.enter_async_context(running(stage, "c-alone", _ROOM))
        # The first viewers of a process bring buffers and code that stay.
        await piped.ask(_job("watch", watched.ops_port, SEATS, 5.0, watched.pid), 5.0 + SETTLE_S + _CONNECT_S)
        fds = descriptors(watched.pid)
        seconds = minutes * 60
        churning = asyncio.create_task(piped.ask(_job("churn", watched.ops_port, SEATS, seconds, watched.pid, seed), seconds + viewers.DEAF_S))
        began_s, samples = time.monotonic(), [(0.0, rss_kb(watched.pid), rss_kb(alone.pid))]
        for step in range(1, SAMPLES + 1):
            await asyncio.sleep(began_s + seconds * step / SAMPLES - time.monotonic())
            samples.append(((time.monotonic() - began_s) / 60, rss_kb(watched.pid), rss_kb(alone.pid)))
            say(f"c: after {samples[-1][0]:.1f} min {samples[-1][1]:,.0f} kB, and {samples[-1][2]:,.0f} kB where nobody looks")
        done: viewers.Done = await churning
        left = await _left_open(watched, fds)
    of = Memory(samples, fds, left)
    found.tables.append("\n".join(memory_lines(of)))
    void = f"{minutes:g} minutes say little: --minutes 30" if minutes < _VOID_MINUTES else ""
    found.verdicts += [
        *memory_verdicts(of, void),
        Verdict("c: who stays gets every frame, whoever comes and goes", f"{done['gaps']} gaps, {done['lost']} ended", done["gaps"] + done["lost"] == 0, ""),
    ]
    deaf = f"of {done['deaf']} who did not read for {viewers.DEAF_S:g} s {done['let_go']} were let go"
    found.remarks.append(f"c: {done['came']:,} viewers came, {SEATS} at any time; {deaf}; their process was busy {done['busy_share']:.0%} of a core")


async def _left_open(gateway: Gateway, had: int) -> int:
    """Descriptors more than before, once everybody has gone."""
    until_s = time.monotonic() + _CLOSED_S
    while time.monotonic() < until_s and descriptors(gateway.pid) > had:
        await asyncio.sleep(0.1)
    return descriptors(gateway.pid) - had
