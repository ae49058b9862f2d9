"""What one rate-limit decision costs beside three other limiters, on one real Valkey.  Linux only.

    python -m benchmarks.bench_take                        all arms, about two and a half minutes
    python -m benchmarks.bench_take --quick --arms limits  does everything run?  seconds

Ours decides four buckets at a time, all or none; the others one.  Every arm is a process of its own, pinned to a core
the server and this process are not on, and runs the same loop (takers/loop.py).  In each round every arm runs once at
each concurrency, in an order that changes from round to round; ratios are taken within a round.

Exit codes as bench_path has them: 0 measured; 1 the target missed, with --enforce; 2 something broke, and is said.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from benchmarks import machine
from benchmarks.command import EXIT_BROKEN, EXIT_MISSED, run, say
from benchmarks.takers import ARMS, results
from benchmarks.takers.arm import Arm
from benchmarks.takers.loop import IDENTITIES, Job
from devstack import Devstack, DevstackError

ROUNDS, SECONDS = 11, 1.0
# Enough to see that everything runs; too few for an interval worth its name.
QUICK_ROUNDS, QUICK_SECONDS = 2, 0.1
CONCURRENCIES = (1, 64, 256)
PACKAGES = ("limits", "throttled-py", "pyrate-limiter")


def main() -> int:
    """Measure, print, and return the exit code."""
    return run(bench(arguments()), (DevstackError, OSError))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="CPU per rate-limit decision, beside other limiters.")
    parser.add_argument("--rounds", type=int, default=0, help=f"default {ROUNDS}")
    parser.add_argument("--seconds", type=float, default=0.0, help=f"an arm in a round (default {SECONDS})")
    parser.add_argument("--concurrency", type=int, nargs="+", default=CONCURRENCIES, metavar="N", help=f"default {listed(CONCURRENCIES)}")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM", help=f"of {', '.join(ARMS)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say little")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when the target is missed")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (QUICK_ROUNDS if chosen.quick else ROUNDS)
    chosen.seconds = chosen.seconds or (QUICK_SECONDS if chosen.quick else SECONDS)
    if not all(1 <= tasks <= IDENTITIES for tasks in chosen.concurrency):
        parser.error(f"--concurrency {listed(chosen.concurrency)}: want 1 to {IDENTITIES}, the number of identities")
    return chosen


async def bench(chosen: argparse.Namespace) -> int:
    """Do everything, in order."""
    cores = machine.divide(frozenset(os.sched_getaffinity(0)))
    facts = machine.facts()  # before the run is the load average
    facts["limiters"] = {name: machine.installed(name) for name in PACKAGES}
    settings: dict[str, object] = {
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "identities": IDENTITIES,
        "pinning": str(cores).replace("servers on", "arms on"),
    }
    os.sched_setaffinity(0, cores.others)  # inherited by the server
    with tempfile.TemporaryDirectory(prefix="sluicegate-take-") as directory:
        async with set_up(chosen.arms, cores, Path(directory)) as (arms, server_pid):
            notes = {arm.name: arm.note or f"BROKEN: {arm.error}" for arm in arms.values()}
            samples = await measured(arms, chosen, server_pid)
    found = results.build(samples)
    sys.stdout.write(results.text(found, notes, settings, facts) + "\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(results.as_json(found, notes, settings, facts), indent=2) + "\n")
    if found.broken:
        return EXIT_BROKEN
    return EXIT_MISSED if chosen.enforce and not all(verdict.is_met for verdict in found.verdicts) else 0


@asynccontextmanager
async def set_up(names: Sequence[str], cores: machine.Cores, directory: Path) -> AsyncIterator[tuple[dict[str, Arm], int]]:
    """Start the server and the arms, and end them all afterwards."""
    async with AsyncExitStack() as cleanup:
        stack = await cleanup.enter_async_context(Devstack(directory, kafka=False, fast_stop=True, say=say))
        async with Redis.from_url(stack.redis.url) as client:
            server_pid = int((await client.info("server"))["process_id"])
        arms = {}
        for name in names:
            arms[name] = await Arm.start(name, stack.redis.url, cores.servers)
            cleanup.push_async_callback(arms[name].stop)
        yield arms, server_pid


async def measured(arms: dict[str, Arm], chosen: argparse.Namespace, server_pid: int) -> list[results.Sample]:
    """Run all rounds; the one before the first opens connections and fills caches, and is not counted."""
    samples = []
    for number in range(-1, chosen.rounds):
        for concurrency in chosen.concurrency:
            job = Job(concurrency=concurrency, seconds=chosen.seconds, server_pid=server_pid)
            for name in results.order(list(arms), number):
                sample = results.Sample(number, concurrency, name, await arms[name].run(job))
                samples += [sample] if number >= 0 else []
        say(f"round {number + 1} of {chosen.rounds}")
    # By concurrency and arm, as they were asked for, however the first round was ordered.
    places = list(arms)
    return sorted(samples, key=lambda sample: (chosen.concurrency.index(sample.concurrency), places.index(sample.arm)))


def listed(numbers: Sequence[int]) -> str:
    """Return `1, 64, 256`."""
    return ", ".join(map(str, numbers))


if __name__ == "__main__":
    sys.exit(main())
