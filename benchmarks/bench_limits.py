"""What quotas cost others when Redis is frozen, and when one user does not stop: real gateway, Kafka, Redis.

    python -m benchmarks.bench_limits          both parts, about two minutes

    frozen      Redis is stopped (SIGSTOP) for ten seconds under 800 syncs a second
    neighbour   one user at 100 times his limit; the p99 of everybody else, beside a quiet round, interleaved

Latency runs from when a request was due (open_generator.py).  Exit codes as bench_path's: 0 measured,
1 a promise missed with --enforce, 2 the harness broke, 3 the generator could not keep up.
"""

import argparse
import asyncio
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import crowd, load, machine, servers, sut, traffic
from benchmarks.arrivals import Try, unpacked
from benchmarks.command import EXIT_GENERATOR, EXIT_MISSED, run, say
from benchmarks.gauges import board_path
from benchmarks.open_generator import Job, Stream
from devstack import Devstack
from gateway.board import Board

RATE: Final = 10  # a user's limit per second
TIMES: Final = 100  # how far above it the one user is
MEMBERS: Final = 2_000
PACE_PER_S: Final = 800.0
FROZEN_S: Final = 10.0
BEFORE_S: Final = 6.0
AFTER_S: Final = 8.0
TRIP_S: Final = 0.2  # within which the breaker has tripped
QUIET_PER_S: Final = 200.0
ROUND_S: Final = 4.0
ROUNDS: Final = 9
BUSY_MAX: Final = 0.9  # of a core: beyond, the generator is what is measured
_EVERYBODY: Final = ", ".join(f'{{ by = "{by}", tokens = 100000, per_s = 1, burst = 1000000 }}' for by in ("global", "route", "address"))
SETTINGS: Final = f"""
[process]
drain_lag_s = 0
[http]
trusted_proxies = ["{crowd.PROXIES}"]
[limits]
newcomers_per_s = 100000
newcomers_burst = 1000000
[[limits.policies]]
name = "syncs"
charge = "syncs"
rules = [{_EVERYBODY}, {{ by = "user", tokens = {RATE}, per_s = 1, burst = {2 * RATE} }}]
"""


class Verdict(NamedTuple):
    """One promise."""

    claim: str
    seen: str
    is_met: bool


def p99_ms(tries: Sequence[Try]) -> float:
    """Of those accepted, in ms; 0 where there are none."""
    took = sorted(one.latency_s for one in tries if one.status == 202)
    return took[min(len(took) - 1, int(len(took) * 0.99))] * 1_000 if took else 0.0


def between(tries: Sequence[Try], begin_s: float, end_s: float) -> list[Try]:
    """Those due in this time."""
    return [one for one in tries if begin_s <= one.due_s < end_s]


class Generator:
    """load.OpenLoad, and whether it ever fell behind."""

    def __init__(self, open_load: load.OpenLoad, directory: Path) -> None:
        self._open_load, self._directory = open_load, directory
        self.is_void = False

    async def run(self, port: int, streams: list[Stream], seed: int) -> list[Try]:
        """All tries of one job."""
        path = self._directory / "tries"
        job = Job(port=port, streams=streams, patience_s=5.0, is_obedient=False, seed=seed, connections=64, tries=str(path))
        done = await self._open_load.run(job)
        if done["error"]:
            raise servers.ServerError(done["error"])
        self.is_void |= done["busy_share"] > BUSY_MAX or done["starved"] > 0
        return unpacked(path.read_bytes())


async def frozen(stack: Devstack, generator: Generator, server: servers.Server, path: Path) -> list[Verdict]:
    """Freeze Redis in the middle of a steady load."""
    phases = [(BEFORE_S + FROZEN_S + AFTER_S, PACE_PER_S)]
    running = asyncio.create_task(generator.run(server.port, [Stream(traffic=str(path), phases=phases)], 1))
    await asyncio.sleep(BEFORE_S)
    began_s = time.monotonic()
    await stack.redis.pause()
    await asyncio.sleep(FROZEN_S - (time.monotonic() - began_s))
    await stack.redis.resume()
    resumed_s = time.monotonic()
    exact_s = await exact_again(server.process.pid, resumed_s)
    tries = await running
    before = p99_ms(between(tries, 1, BEFORE_S))
    without = p99_ms(between(tries, BEFORE_S + TRIP_S, BEFORE_S + FROZEN_S))
    longest_ms = max(one.latency_s for one in tries) * 1_000
    statuses = Counter(one.status for one in tries)
    say(f"frozen: p99 {before:.1f} ms before, {without:.1f} ms while frozen; longest wait of all {longest_ms:.0f} ms; statuses {dict(statuses)}")
    return [
        Verdict("Redis frozen for 10 s: p99 of accepted syncs rises by less than 50 ms", f"{without - before:+.1f} ms", without - before < 50),
        Verdict("nothing hangs, no 5xx", f"{dict(statuses)}", set(statuses) <= {202, 429}),
        Verdict("exact again within 2 s of its return (seen every half second)", f"{exact_s:.1f} s", exact_s <= 2),
    ]


async def exact_again(pid: int, since_s: float) -> float:
    """Seconds until the worker says that Redis decides."""
    fd = os.open(board_path(pid), os.O_RDWR)
    degraded = Board(fd, 1).slots[0].gauge("sluicegate_limiter_degraded")
    while degraded.value and time.monotonic() - since_s < AFTER_S:
        await asyncio.sleep(0.02)
    os.close(fd)
    return time.monotonic() - since_s


async def neighbour(generator: Generator, server: servers.Server, quiet: Path, loud: Path) -> list[Verdict]:
    """Everybody else's p99, with and without one who does not stop."""
    ratios = []
    others = Stream(traffic=str(quiet), phases=[(ROUND_S, QUIET_PER_S)])
    one = Stream(traffic=str(loud), phases=[(ROUND_S, float(RATE * TIMES))])
    refused = Counter[int]()
    for seed in range(ROUNDS):
        alone = p99_ms(await generator.run(server.port, [others], seed))
        tries = await generator.run(server.port, [others, one], seed)
        beside = p99_ms([each for each in tries if each.stream == 0])
        refused.update(each.status for each in tries if each.stream == 1)
        ratios.append(beside / alone)
        say(f"neighbour: round {seed + 1} of {ROUNDS}: p99 {alone:.1f} ms alone, {beside:.1f} ms beside")
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    say(f"neighbour: he is told {dict(refused)}")
    return [Verdict("one user at 100 times his limit: p99 of the others, at most 1.25 times", f"{middle:.2f} [{low:.2f}, {high:.2f}]", middle <= 1.25)]


async def bench(chosen: argparse.Namespace) -> int:
    """Both parts, one gateway."""
    cores = machine.divide(frozenset(os.sched_getaffinity(0)))
    os.sched_setaffinity(0, cores.others)
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="sluicegate-limits-") as name:
        directory = Path(name)
        secret = sut.new_secret()
        tokens = sut.tokens(secret, MEMBERS + 1, int(time.time()))
        quiet, loud, settings = directory / "quiet", directory / "loud", directory / "gateway.toml"
        requests = crowd.syncs(tokens, now)
        quiet.write_bytes(traffic.framed(requests[:MEMBERS]))
        loud.write_bytes(traffic.framed(requests[MEMBERS:]))
        settings.write_text(SETTINGS)
        async with Devstack(directory / "stack", fast_stop=True, say=say) as stack:
            command = sut.command(sut.ROOT, directory / "gateway", sut.Addresses(stack.kafka.bootstrap, stack.redis.url), secret)
            command = dataclasses.replace(command, argv=(*command.argv[:3], "--config", str(settings)))
            server = await servers.start("gateway", command, cores.servers, directory / "log")
            open_load = load.OpenLoad()
            try:
                generator = Generator(open_load, directory)
                await generator.run(server.port, [Stream(traffic=str(quiet), phases=[(3.0, 200.0)])], 99)  # warm
                verdicts = await frozen(stack, generator, server, quiet)
                verdicts += await neighbour(generator, server, quiet, loud)
            finally:
                await open_load.close()
                await servers.stop(server)
    for verdict in verdicts:
        print(f"target: {verdict.claim}: {verdict.seen}: {'met' if verdict.is_met else 'MISSED'}")
    if generator.is_void:
        say("the generator could not keep up: the figures are void")
        return EXIT_GENERATOR
    return EXIT_MISSED if chosen.enforce and not all(verdict.is_met for verdict in verdicts) else 0


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="What quotas cost others.")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when a promise is missed")
    return run(bench(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
