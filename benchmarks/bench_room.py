"""What a waiting room of a million people costs the one Redis that all gateways share.  Linux only.

    python -m benchmarks.bench_room            about half a minute
    python -m benchmarks.bench_room --quick    does everything run?  seconds; its figures say little

    joins      a million people join by batches, as the workers gather them; what of Redis' time that takes
    memory     MEMORY USAGE of every key the room has in the end
    ticks      with a million in line: one that only writes the sign, one that notes 500 people and counts all,
               and one after a mass return, when the line has gone past everybody and a million are called
    rank       the k-th of a million bits, by halving

Times are Redis' own (INFO commandstats), so neither the client nor the machine's other core is in them.
Exit codes as bench_path's: 0 measured, 1 a promise missed with --enforce, 2 the harness broke.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis

from benchmarks import machine
from benchmarks.command import EXIT_MISSED, run, say
from devstack import Devstack, DevstackError
from gateway.core.sign import Policy
from gateway.errors import RoomAway
from gateway.redis_room import RedisRoom
from gateway.room_store import SEEN_MAX, Notes, Seen

PEOPLE: Final = 1_000_000
QUICK_PEOPLE: Final = 20_000
BATCHES: Final = (50, 64, 100, 128)
AT_ONCE: Final = 2  # calls on their way: Redis never waits for the client
TOKEN_US: Final = 4_000  # 250/s: a lobby of 750
TICKS: Final = 40
RANKS: Final = 100
NOW_US: Final = 4_000_000_000_000_000  # given, so that each tick counts or does not as we like

JOINS_PER_S_MIN: Final = 100_000
JOINED_MB_MAX: Final = 20.0
REST_MB_MAX: Final = 1.0
TICK_MS_MAX: Final = 2.0


class Verdict(NamedTuple):
    """One promise."""

    claim: str
    seen: str
    is_met: bool

    @property
    def text(self) -> str:
        """Its line of the report."""
        return f"target: {self.claim}: {self.seen}: {'met' if self.is_met else 'MISSED'}"


class Bench:
    """A room, and what Redis says its calls took."""

    def __init__(self, url: str, people: int) -> None:
        self.people = people
        self.client: Any = Redis.from_url(url)
        self.room = RedisRoom(url, "bench", 1, Policy(), TOKEN_US)
        self.room.now_us = NOW_US
        self.prefix = "{sluicegate:room:bench:1}:"

    async def took_us(self, work: Callable[[], Awaitable[object]]) -> int:
        """Redis' time for its scripts while this is done."""
        await self.client.config_resetstat()
        await work()
        said = await self.client.info("commandstats")
        return sum(int(said.get(f"cmdstat_{name}", {"usec": 0})["usec"]) for name in ("eval", "evalsha"))

    async def join_all(self) -> dict[int, tuple[float, float]]:
        """Everybody, by batches of each size in turn; µs of Redis a join, and joins a second as the client sees them."""
        draw = random.Random(1)
        await self.room.recover(None, 0)
        joined, took = 0, dict[int, tuple[float, float]]()
        edges = [self.people * step // len(BATCHES) for step in range(len(BATCHES) + 1)]
        for batch, (first, last) in zip(BATCHES, pairwise(edges), strict=True):
            left = iter([[draw.randbytes(8) for _ in range(min(batch, last - at))] for at in range(first, last, batch)])

            async def joiner(left: Any = left) -> None:
                for ids in left:
                    await self.room.join(ids, Seen())

            async def joiners(joiner: Callable[[], Awaitable[None]] = joiner) -> None:
                await asyncio.gather(*(joiner() for _ in range(AT_ONCE)))

            began_s = time.monotonic()
            us = await self.took_us(joiners)
            took[batch] = us / (last - first), (last - first) / (time.monotonic() - began_s)
            joined += last - first
            say(f"{joined:,} have joined")
        return took

    async def memory_mb(self) -> dict[str, float]:
        """By kind of key."""
        keys = await self.client.keys(self.prefix + "*")
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.memory_usage(key, samples=0)
        used: dict[str, float] = defaultdict(float)
        for key, size in zip(keys, await pipe.execute(), strict=True):
            used[key.decode().removeprefix(self.prefix).split(":")[0]] += size / 1e6
        return dict(used)

    async def ticks_ms(self, step_us: int, near: Callable[[], Sequence[int]]) -> list[float]:
        """Of so many ticks, so far apart."""
        took = []
        for _ in range(TICKS):
            self.room.now_us += step_us
            notes = Notes(near=near())
            took.append(await self.took_us(lambda notes=notes: self.room.tick(notes, Seen())) / 1_000)  # type: ignore[misc]
        return took

    async def return_all(self) -> None:
        """Nobody asks until the line has gone past everybody; then all do at once."""
        await self.ticks_ms(1_000_000, list)
        for window in range(2):
            await self.client.setrange(f"{self.prefix}near:{window}", 0, b"\xff" * (self.people // 8))

    async def rank_us(self) -> float:
        """Of one kth in the middle of the line."""
        prelude = files("gateway").joinpath("lua", "room.lua").read_text()
        source = f"{prelude}\nfor n = 1, {RANKS} do kth(FAR[0], {self.people // 2} + n, 0, {self.people}) end"
        argument = msgspec.msgpack.encode((NOW_US, Policy(), "", 0, 0))
        await self.client.setrange(f"{self.prefix}far:0", 0, b"\xff" * (self.people // 8))
        return await self.took_us(lambda: self.client.eval(source, 1, f"{self.prefix}state", argument)) / RANKS

    async def close(self) -> None:
        """Let go of connections."""
        await self.room.close()
        await self.client.aclose()


async def bench(chosen: argparse.Namespace) -> int:
    """Measure, print, and return the exit code."""
    people = QUICK_PEOPLE if chosen.quick else PEOPLE
    cores = machine.divide(frozenset(os.sched_getaffinity(0)))
    facts = machine.facts()  # before the run is the load average
    with tempfile.TemporaryDirectory(prefix="sluicegate-room-") as directory:
        with machine.pinned(cores.servers):
            stack = Devstack(Path(directory), kafka=False, fast_stop=True, say=say)
            await stack.__aenter__()
        try:
            one = Bench(stack.redis.url, people)
            verdicts = await measured(one)
            await one.close()
        finally:
            await stack.__aexit__(None, None, None)
    for verdict in verdicts:
        print(verdict.text)
    for name, value in facts.items():
        print(f"{name}: {value}")
    return EXIT_MISSED if chosen.enforce and not all(verdict.is_met for verdict in verdicts) else 0


async def measured(one: Bench) -> list[Verdict]:
    """Everything, in order; prints the figures."""
    took = await one.join_all()
    print("batch  us of Redis a join  joins/s at Redis  joins/s, this client")
    for batch, (us, per_s) in took.items():
        print(f"{batch:5}  {us:18.2f}  {1e6 / us:16,.0f}  {per_s:20,.0f}")
    ticks = {"sign alone": await one.ticks_ms(1_000, list)}
    draw = random.Random(2)
    ticks[f"{SEEN_MAX} seen, counted"] = await one.ticks_ms(1_000_000, lambda: draw.sample(range(one.people), SEEN_MAX))
    await one.return_all()
    ticks["after a mass return"] = await one.ticks_ms(500_000, lambda: draw.sample(range(one.people), SEEN_MAX))
    memory = await one.memory_mb()
    print("\nMB in Redis: " + ", ".join(f"{kind} {mb:.3f}" for kind, mb in sorted(memory.items())))
    print("\ntick                   median ms     max ms")
    for name, ms in ticks.items():
        print(f"{name:20}  {statistics.median(ms):10.2f} {max(ms):10.2f}")
    print(f"\nthe k-th of {one.people:,}: {await one.rank_us():.0f} us\n")
    return judged({batch: us for batch, (us, _) in took.items()}, memory, {name: statistics.median(ms) for name, ms in ticks.items()})


def judged(join_us: dict[int, float], memory_mb: dict[str, float], tick_ms: dict[str, float]) -> list[Verdict]:
    """The promises, each by its worst case."""
    joins_per_s = 1e6 / max(join_us.values())
    joined_mb = memory_mb["joined"]
    rest_mb = sum(memory_mb.values()) - joined_mb
    worst_ms = max(tick_ms.values())
    return [
        Verdict(f"Redis takes {JOINS_PER_S_MIN:,} joins a second by any batch", f"{joins_per_s:,.0f}", joins_per_s >= JOINS_PER_S_MIN),
        Verdict(f"the join ids take at most {JOINED_MB_MAX:g} MB", f"{joined_mb:.1f} MB", joined_mb <= JOINED_MB_MAX),
        Verdict(f"all else takes at most {REST_MB_MAX:g} MB", f"{rest_mb:.2f} MB", rest_mb <= REST_MB_MAX),
        Verdict(f"a tick holds Redis for at most {TICK_MS_MAX:g} ms", f"{worst_ms:.2f} ms", worst_ms <= TICK_MS_MAX),
    ]


def main() -> int:
    """Parse the command line, measure, and return the exit code."""
    parser = argparse.ArgumentParser(description="What a waiting room costs its Redis.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PEOPLE:,} people instead of {PEOPLE:,}")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when a target is missed")
    return run(bench(parser.parse_args()), (DevstackError, OSError, RoomAway))


if __name__ == "__main__":
    sys.exit(main())
