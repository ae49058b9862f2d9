"""What the operators' screen promises: its lights, its viewers, its depth, its lever.  Linux only.

    python -m benchmarks.bench_screen                          everything, about a quarter of an hour
    python -m benchmarks.bench_screen --quick                  does it run?  its figures say little
    python -m benchmarks.bench_screen --parts b                one part: a, b, c, d or e
    python -m benchmarks.bench_screen --parts c --minutes 30   whether memory is flat takes its time

    a  Redis, Kafka, a worker: frozen and killed, three times each, without traffic.  Seconds until a frame's light and
       bottleneck and /readyz say so, and from the repair until all is green
    b  the supervisor's CPU with 0 and with 1,000 viewers, its workers', and that of a stream as one would write it first
    c  viewers come and go for some minutes: resident memory, beside a gateway nobody looks at; descriptors
    d  200 join a second, 20 pass, 35 % leave: how old is what is shown, and is the depth what Redis itself has?
    e  another rate, told by the call and by the command: seconds until every worker's sign has it

The viewers of b and c and the people of d are processes of their own.  Servers are this run's: they are frozen and killed.
Exit codes: 0 measured, whatever the figures; 2 the harness broke.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp

from benchmarks import machine
from benchmarks.bench_line import Found, print_all
from benchmarks.command import BREAKAGES, EXIT_BROKEN, run, say
from benchmarks.screen import crowd, lever, lights, line
from benchmarks.screen.gateway import Stage
from devstack import Devstack

PARTS: Final = "abcde"
_BREAKAGES: Final[tuple[type[Exception], ...]] = (*BREAKAGES, aiohttp.ClientError, TimeoutError)


class Sizes(NamedTuple):
    """How much of everything."""

    faults: int = 3  # rounds of each
    rounds: int = 6  # of b
    seconds: float = 10.0
    minutes: float = 2.0
    joining_s: float = line.JOINING_S
    after_s: float = line.AFTER_S
    changes: int = 10


QUICK: Final = Sizes(faults=1, rounds=1, seconds=3.0, minutes=0.3, joining_s=5.0, after_s=5.0, changes=2)


def main() -> int:
    """Measure, print, and return the exit code."""
    return run(bench(arguments()))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="The operators' screen: its lights, viewers, depth and lever.")
    parser.add_argument("--parts", default=PARTS, help="of a, b, c, d, e (default: all)")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say little")
    parser.add_argument("--minutes", type=float, help=f"of c (default: {Sizes().minutes:g})")
    parser.add_argument("--seed", type=int, default=1, help="of instants, viewers, people and rates")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    if not chosen.parts or set(chosen.parts) - set(PARTS):
        parser.error(f"--parts {chosen.parts}: want some of {', '.join(PARTS)}")
    if chosen.minutes is not None and chosen.minutes <= 0:
        parser.error(f"--minutes {chosen.minutes:g}: want more than 0")
    return chosen


async def bench(chosen: argparse.Namespace) -> int:
    """Do everything, in order."""
    began_s, available = time.monotonic(), frozenset(os.sched_getaffinity(0))
    cores, facts = machine.divide(available), machine.facts()  # before the run is the load average
    os.sched_setaffinity(0, cores.others)  # inherited by the stack, viewers and people
    found, is_broken = Found(), False
    with tempfile.TemporaryDirectory(prefix="sluicegate-screen-") as name:
        async with Devstack(Path(name) / "stack", fast_stop=True, say=say) as stack:
            try:
                await measure(Stage(Path(name), stack, cores.servers, available), chosen, found)
            except _BREAKAGES as error:  # what was found until then is still told
                say(f"the harness broke: {type(error).__name__}: {error}")
                is_broken = True
    pinning = f"b: {cores}; a, c, d, e: the gateway on {machine.listed(available)}, all else on {machine.listed(cores.others)}"
    print_all(found, {"seed": chosen.seed, "pinning": pinning, "took_s": round(time.monotonic() - began_s), **facts})
    if chosen.json:
        chosen.json.write_text(json.dumps(dataclasses.asdict(found) | {"machine": facts}, indent=2) + "\n")
    return EXIT_BROKEN if is_broken else 0


async def measure(stage: Stage, chosen: argparse.Namespace, found: Found) -> None:
    """The parts that were asked for."""
    sizes = QUICK if chosen.quick else Sizes()
    minutes, seed = chosen.minutes or sizes.minutes, chosen.seed
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "a": lambda: lights.measure(stage, sizes.faults, seed, found),
        "b": lambda: crowd.costs(stage, sizes.rounds, sizes.seconds, found),
        "c": lambda: crowd.memory(stage, minutes, seed, found),
        "d": lambda: line.measure(stage, sizes.joining_s, sizes.after_s, seed, found),
        "e": lambda: lever.measure(stage, sizes.changes, seed, found),
    }
    for part in sorted(set(chosen.parts)):
        await parts[part]()


if __name__ == "__main__":
    sys.exit(main())
