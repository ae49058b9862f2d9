"""What the spool costs on this machine's disk, in ratios to what nobody could do without.  Linux only.

    python -m benchmarks.bench_spool                        all parts; about five minutes
    python -m benchmarks.bench_spool --quick                does everything run?  a minute
    python -m benchmarks.bench_spool --parts day --day-share 1     a day's backlog in full: 10 GB, and about ten minutes

    append    one request's records at a time, 1 to 1,024 requests waiting at once: what one fdatasync covers, and for
              how many; beside it the same bytes written and synced with nothing around
    recover   a backlog of --backlog-mib, of frames as a worker under load writes them and of frames of a single
              record: how long to serving, how much memory grows; beside it the same bytes read, and a crc of each;
              then read back lane by lane in turn, and settled
    day       --day-share of 24 hours at 200 events a second, the worst case of a frame for each, replayed in order
    path      gateways over real sockets: all spooled, beside all to Kafka

Exit codes as bench_path has them: 0 measured; 1 a target missed, with --enforce; 2 something broke.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

from benchmarks import spool_path
from benchmarks.backlogs import LANES, PER_S, Recovered, events, fill, measured, spool_in
from benchmarks.command import EXIT_MISSED, run, say
from benchmarks.spool_path import Compared
from gateway.spool.segments import Group

PARTS = ("append", "recover", "day", "path")
RECOVER_S_MAX, GROWTH_MIB_MAX = 10.0, 64.0
DAY_RECORDS = 24 * 3600 * PER_S
REPLAY_S = 30.0  # its pace is known by then
CONNECTIONS = 64


class Appended(NamedTuple):
    """So many requests at a time."""

    waiting: int
    records_per_s: float
    records_per_sync: float
    cpu_us: float
    p99_ms: float
    bare_sync_ratio: float  # how long a sync takes, in units of the same bytes written and synced bare


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Appends, recovery and replay of the spool, and the whole path into it.")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--backlog-mib", type=int, default=1024)
    parser.add_argument("--day-share", type=float, default=0.1, help="of 24 hours; 1 takes 10 GB")
    parser.add_argument("--seconds", type=float, default=2.0, help="of appending, at each number of requests, and of a round")
    parser.add_argument("--pairs", type=int, default=12, help="of rounds over sockets")
    parser.add_argument("--directory", type=Path, help="where; default: a temporary one, which may be in memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say little")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when a target is missed")
    chosen = parser.parse_args()
    if unknown := {*chosen.parts.split(",")} - {*PARTS}:
        parser.error(f"--parts {', '.join(sorted(unknown))}: want some of {', '.join(PARTS)}")
    if chosen.quick:
        chosen.backlog_mib, chosen.day_share, chosen.seconds, chosen.pairs = 16, 0.002, 0.3, 2
    return run(bench(chosen))


async def bench(chosen: argparse.Namespace) -> int:
    """Do everything, in order."""
    parts, figures, verdicts = chosen.parts.split(","), dict[str, list[dict[str, object]]](), list[tuple[str, bool]]()
    with tempfile.TemporaryDirectory(prefix="sluicegate-spool-", dir=chosen.directory) as name:
        root = Path(name)
        if "append" in parts:
            figures["append"] = [one._asdict() for one in await appends(root, chosen.seconds)]
        if "recover" in parts:
            backlogs = [await recovery(root, chosen.backlog_mib, frames_of) for frames_of in (8, 1)]
            is_met = all(one.seconds < RECOVER_S_MAX and one.growth_mib < GROWTH_MIB_MAX and one.is_in_order for one in backlogs)
            verdicts.append((f"a backlog of 1 GiB serves in less than {RECOVER_S_MAX:g} s, and takes less than {GROWTH_MIB_MAX:g} MiB", is_met))
            figures["recover"] = [one._asdict() for one in backlogs]
        if "day" in parts:
            day = await a_day(root, chosen.day_share)
            is_met = day.is_in_order and day.replayed == day.records and max(day.growth_mib, day.replay_growth_mib) < GROWTH_MIB_MAX
            verdicts.append((f"{chosen.day_share:.3g} of a day's backlog replays in order, and takes less than {GROWTH_MIB_MAX:g} MiB", is_met))
            figures["day"] = [day._asdict()]
        if "path" in parts:
            paths = await spool_path.compared(root, chosen.pairs, chosen.seconds, CONNECTIONS)
            for one in paths:
                print(path_text(one))
            verdicts.append((f"spooling all keeps {spool_path.TARGET:g} of the events a second that go to Kafka", all(one.is_met for one in paths)))
            figures["path"] = [one._asdict() for one in paths]
    for text, is_met in verdicts:
        print(f"target: {text}: {'met' if is_met else 'MISSED'}")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2, default=vars) + "\n")
    return EXIT_MISSED if chosen.enforce and not all(is_met for _, is_met in verdicts) else 0


# Appending


async def appends(root: Path, seconds: float) -> list[Appended]:
    """Few and many at a time."""
    found = []
    for waiting in (1, 16, 64, 256, 1024):
        one = await appending(root / f"a{waiting}", waiting, seconds)
        print(
            f"append, {one.waiting:>4} waiting: {one.records_per_s:>9,.0f} records/s, {one.records_per_sync:6.1f} a sync, {one.cpu_us:6.1f} us CPU each, "
            f"p99 {one.p99_ms:.1f} ms; a sync takes {one.bare_sync_ratio:.2f} x a bare one"
        )
        found.append(one)
    return found


async def appending(directory: Path, waiting: int, seconds: float) -> Appended:
    """So many requests at once, each of one record, the next when it is answered."""
    spool = spool_in(directory)
    await spool.open()
    records = events(1024)
    took_s: list[float] = []
    syncs = 0
    until, cpu, started = perf_counter() + seconds, process_time(), perf_counter()

    async def requests(lane: int) -> None:
        n = lane
        while not took_s or perf_counter() < until:
            begun = perf_counter()
            n = (n + 1) % len(records)
            await spool.append("syncs.v1", lane % LANES, records[n : n + 1])
            took_s.append(perf_counter() - begun)

    commit = spool._log.commit  # noqa: SLF001 - counted, not changed

    def counted(groups: Sequence[Group]) -> tuple[list[tuple[Group, int]], int]:
        nonlocal syncs
        syncs += 1
        return commit(groups)

    spool._log.commit = counted  # type: ignore[method-assign]  # noqa: SLF001
    await asyncio.gather(*(requests(lane) for lane in range(waiting)))
    cpu, elapsed = process_time() - cpu, perf_counter() - started
    written_bytes = spool.size_bytes
    await spool.close()
    bare_s = bare_sync_s(directory / "bare", written_bytes // max(syncs, 1), min(syncs, 200))
    ratio = elapsed / max(syncs, 1) / bare_s
    return Appended(waiting, len(took_s) / elapsed, len(took_s) / max(syncs, 1), cpu / len(took_s) * 1e6, sorted(took_s)[len(took_s) * 99 // 100] * 1e3, ratio)


def bare_sync_s(path: Path, size: int, times: int) -> float:
    """So many bytes written and synced with nothing around: how long each takes."""
    content, fd = os.urandom(size), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    started = perf_counter()
    for _ in range(times):
        os.write(fd, content)
        os.fdatasync(fd)
    elapsed = perf_counter() - started
    os.close(fd)
    return elapsed / times


# Backlogs


async def recovery(root: Path, mib: int, frames_of: int) -> Recovered:
    """A backlog of that size."""
    directory = root / f"r{frames_of}"
    await fill(directory, frames_of, size=mib << 20)
    say(f"{mib} MiB in frames of {frames_of} written")
    return await measured_and_told(directory, frames_of, REPLAY_S)


async def a_day(root: Path, share: float) -> Recovered:
    """That share of a day's backlog, all of it replayed."""
    directory = root / "day"
    await fill(directory, 1, records=round(DAY_RECORDS * share))
    say(f"{24 * share:.3g} hours at {PER_S} a second written")
    return await measured_and_told(directory, 1, float("inf"))


async def measured_and_told(directory: Path, frames_of: int, replay_s: float) -> Recovered:
    """Measure it, take it away, and print what was found."""
    told = await asyncio.to_thread(measured, directory, frames_of, replay_s)
    shutil.rmtree(directory)
    print(
        f"recover {told.mib:,.0f} MiB, {told.records:,} records, {told.frames_of} a frame: {told.seconds:.2f} s to serving, "
        f"{told.cpu_s:.2f} s CPU, {told.cpu_s / told.bare_cpu_s:.1f} x a bare reading, memory +{told.growth_mib:.0f} MiB; "
        f"replay of {told.replayed:,} at {told.replayed_per_s:,.0f} records/s, {'in order' if told.is_in_order else 'OUT OF ORDER'}, memory +{told.replay_growth_mib:.0f} MiB"
    )
    return told


def path_text(one: Compared) -> str:
    """A size of request in a line."""
    return (
        f"path, {one.events:>2} a request: all spooled {one.spool_per_s:,.0f} events/s, all to Kafka {one.kafka_per_s:,.0f}: ratio {one.throughput.median:.2f} "
        f"[{one.throughput.low:.2f}, {one.throughput.high:.2f}], CPU an event {one.cpu.median:.2f} x [{one.cpu.low:.2f}, {one.cpu.high:.2f}]"
        + (f", {one.refused} refused or lost" if one.refused else "")
        + (f", {one.spooled_share:.1%} of those to Kafka were spooled" if one.spooled_share else "")
        + ("; THE GENERATOR WAS THE BOTTLENECK" if one.was_generator_bottleneck else "")
    )


if __name__ == "__main__":
    sys.exit(main())
