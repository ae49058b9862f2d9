"""How many open arrivals a second one process of the rehearsals' generator sends from one core, and how late.

    python -m benchmarks.bench_arrivals                    1,000, 2,000, 4,000 and 5,000 a second, ten seconds each
    python -m benchmarks.bench_arrivals --per-s 6000

A bare server on one core answers 202 at once; the generator, on the other, sends syncs of one sample from 10,000 members,
each at its own instant.  Beside it, in the same run: stock Locust's FastHttpUser, 64 of them, each waiting for its answers.

Exit codes: 0 all is as wanted up to WANTED_PER_S; 2 the harness broke; 3 the generator could not keep up, or what it
sent was not answered 202.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks import command, machine, servers, sut
from loadtests.crowd import tethered
from loadtests.judge.honesty import CPU_SHARE_MAX, LATE_MS_MAX, OFFERED_SHARE_MIN
from loadtests.recording import read
from loadtests.scenario import Scenario, Segment, Slo, Stream
from loadtests.scenario_file import save

WANTED_PER_S: Final = 4_000  # beyond it is only shown
ACCEPTED_MIN: Final = 0.999  # the bare server takes everything: who is refused did not reach it
_LEAD_S: Final = 5.0  # Locust's start
_END_S: Final = 60.0
_USERS: Final = 64
_LOCUST: Final = (sys.executable, "-m", "locust", "--headless", "--only-summary")


class Row(NamedTuple):
    """What one rate was like."""

    per_s: int
    offered: float  # sent ÷ meant
    late_p50_ms: float
    late_p99_ms: float
    cpu_share: float
    accepted: float  # answered 202 ÷ sent
    errors: tuple[str, ...] = ()  # of the harness itself

    @property
    def trouble(self) -> str:
        """Why a rehearsal at this rate could not be believed; empty: it could.  nan is trouble: nobody measured it."""
        if self.errors:
            return f"could not keep up: {self.errors[0]}"
        if not self.accepted >= ACCEPTED_MIN:
            return f"not all were answered 202: {self.accepted:.1%}"
        is_in_time = self.offered >= OFFERED_SHARE_MIN and self.late_p99_ms <= LATE_MS_MAX and self.cpu_share <= CPU_SHARE_MAX
        return "" if is_in_time else "could not keep up"

    @property
    def keeps_up(self) -> bool:
        """Whether a rehearsal at this rate could be believed."""
        return not self.trouble


def scenario(per_s: int, seconds: float) -> Scenario:
    """Members who come at one rate."""
    stream = Stream("members", "sync", [Segment(seconds, per_s, per_s)])
    return Scenario("Open arrivals", "What the generator can.", 1, [stream], [Slo("syncs.p99_ms", at_most=1_000.0)], seconds=seconds, drain_s=10.0)


async def locust(cores: frozenset[int], *arguments: str) -> bytes:
    """Run it to its end; what it wrote to stdout.

    Raises:
        ValueError: it did not end well.
    """
    with machine.pinned(cores):
        process = await asyncio.create_subprocess_exec(
            *tethered.command([*_LOCUST, *arguments]),
            cwd=sut.ROOT,
            env=os.environ | {"PYTHONPATH": str(sut.ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    try:
        out, errors = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise ValueError(f"locust ended with {process.returncode}: {errors.decode(errors='replace')[-500:]}")
    return out


async def opened(per_s: int, seconds: float, port: int, cores: frozenset[int], directory: Path) -> Row:
    """One rate."""
    path, record = directory / f"{per_s}.toml", directory / f"{per_s}"
    record.mkdir()
    save(scenario(per_s, seconds), path)
    arguments = ["--host", f"http://127.0.0.1:{port}", "--scenario", str(path), "--record", str(record), "--begin-at", repr(time.time() + _LEAD_S)]
    async with asyncio.timeout(_LEAD_S + seconds + _END_S):
        await locust(cores, "-f", "loadtests/locustfile.py", *arguments)
    found = read(sorted(record.iterdir()))
    one, late_ms = found.processes[0], found.calls["late_s"] * 1000
    p50_ms, p99_ms = np.nanpercentile(late_ms, [50, 99]).tolist()
    accepted = float((found.calls["status"] == 202).mean())
    return Row(per_s, one.sent / one.meant, p50_ms, p99_ms, one.cpu_share, accepted, tuple(one.errors))


async def closed_per_s(seconds: float, port: int, cores: frozenset[int]) -> float:
    """The baseline's requests a second."""
    arguments = ["--host", f"http://127.0.0.1:{port}", "-u", f"{_USERS}", "-r", f"{_USERS}", "-t", f"{seconds:.0f}s", "--json"]
    async with asyncio.timeout(seconds + _END_S):
        found = json.loads(await locust(cores, "-f", "benchmarks/peers/fast_http_user.py", *arguments))[0]
    return float(found["num_requests"] / (found["last_request_timestamp"] - found["start_time"]))


def shown(rows: Sequence[Row], baseline_per_s: float) -> str:
    """The table."""
    lines = [f"{'arrivals/s':>10} {'offered ÷ meant':>16} {'late p50 ms':>12} {'late p99 ms':>12} {'CPU':>6} {'202':>7} {'÷ closed loop':>14}"]
    for row in rows:
        figures = f"{row.per_s:>10,} {row.offered:>16.4f} {row.late_p50_ms:>12.2f} {row.late_p99_ms:>12.2f} {row.cpu_share:>6.0%} {row.accepted:>7.1%}"
        lines.append(f"{figures} {row.per_s / baseline_per_s:>14.2f}" + (f"   {row.trouble}" if row.trouble else ""))
    return "\n".join([*lines, f"closed loop, {_USERS} FastHttpUsers: {baseline_per_s:,.0f} requests/s, its whole core"])


def exit_code(rows: Sequence[Row]) -> int:
    """Beyond WANTED_PER_S a rate is only shown."""
    return 0 if all(row.keeps_up for row in rows if row.per_s <= WANTED_PER_S) else command.EXIT_GENERATOR


async def bench(chosen: argparse.Namespace) -> int:
    """All of it."""
    cores = machine.divide(frozenset(os.sched_getaffinity(0)))
    print(f"{machine.cpu_model()}; {cores}")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = await servers.start("bare", sut.peer_command("bare", sut.NOWHERE, sut.new_secret()), cores.servers, directory / "log")
        try:
            baseline_per_s = await closed_per_s(chosen.seconds, server.port, cores.others)
            rows = [await opened(per_s, chosen.seconds, server.port, cores.others, directory) for per_s in chosen.per_s]
        finally:
            await servers.stop(server)
    print(shown(rows, baseline_per_s))
    return exit_code(rows)


def main() -> int:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(description="Open arrivals from one core.")
    parser.add_argument("--per-s", type=int, nargs="+", default=[1_000, 2_000, 4_000, 5_000])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    return command.run(bench(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
