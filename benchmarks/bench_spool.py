"""What the spool costs on this machine's disk.  Linux only.

    python -m benchmarks.bench_spool                     all of it, with 1 GiB of backlog; about a minute
    python -m benchmarks.bench_spool --backlog-mib 64    does everything run?  seconds

    append    one request's records at a time, 1 to 1,024 requests waiting at once: what one fdatasync covers, and for how many
    recover   a backlog of that size, made of frames as a worker under load writes them and of frames of a single
              record, in a process of its own: how long from its start to serving, and how much its memory grows
    replay    all of it read back in batches, lane by lane in turn, and settled: records a second

Exit codes as bench_path has them: 0 measured; 1 a target missed, with --enforce; 2 something broke.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

from benchmarks.command import EXIT_MISSED, run, say
from gateway import clock
from gateway.config import Spool as Settings
from gateway.core.event import Forge, Record
from gateway.core.payload import Sample
from gateway.disk import RealDisk
from gateway.memory import Resident
from gateway.segments import Group
from gateway.spool import DiskSpool

LANES = 12
SECRET = bytes(32)
BATCH_BYTES = 262_144
RECOVER_S_MAX, GROWTH_MIB_MAX = 10.0, 64.0


class Appended(NamedTuple):
    waiting: int
    records_per_s: float
    records_per_sync: float
    cpu_us: float
    p99_ms: float


class Recovered(NamedTuple):
    """One backlog."""

    frames_of: int  # records
    mib: float
    records: int
    seconds: float
    cpu_s: float
    growth_mib: float
    replayed_per_s: float
    replay_growth_mib: float


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Appends, recovery and replay of the spool.")
    parser.add_argument("--backlog-mib", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=2.0, help="of appending, at each number of requests")
    parser.add_argument("--directory", type=Path, help="where; default: a temporary one, which may be in memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when a target is missed")
    return run(bench(parser.parse_args()))


async def bench(chosen: argparse.Namespace) -> int:
    """Do everything, in order."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-spool-", dir=chosen.directory) as name:
        root = Path(name)
        appended = [await appending(root / f"a{waiting}", waiting, chosen.seconds) for waiting in (1, 16, 64, 256, 1024)]
        for one in appended:
            print(
                f"append, {one.waiting:>4} waiting: {one.records_per_s:>9,.0f} records/s, {one.records_per_sync:6.1f} a sync, "
                f"{one.cpu_us:6.1f} us CPU each, p99 {one.p99_ms:.1f} ms"
            )
        recovered = []
        for frames_of in (8, 1):
            directory = root / f"r{frames_of}"
            await fill(directory, chosen.backlog_mib << 20, frames_of)
            say(f"{chosen.backlog_mib} MiB in frames of {frames_of} written")
            recovered.append(await asyncio.to_thread(measured, directory, frames_of))
            shutil.rmtree(directory)
    for told in recovered:
        print(
            f"recover {told.mib:,.0f} MiB, {told.records:,} records, {told.frames_of} a frame: {told.seconds:.2f} s to serving ({told.cpu_s:.2f} s CPU), memory +{told.growth_mib:.0f} MiB; "
            f"replay {told.replayed_per_s:,.0f} records/s, memory +{told.replay_growth_mib:.0f} MiB"
        )
    is_met = all(told.seconds < RECOVER_S_MAX and told.growth_mib < GROWTH_MIB_MAX for told in recovered)
    print(f"target: a backlog of 1 GiB serves in less than {RECOVER_S_MAX:g} s, and takes less than {GROWTH_MIB_MAX:g} MiB: {'met' if is_met else 'MISSED'}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"append": [one._asdict() for one in appended], "recover": [one._asdict() for one in recovered]}, indent=2) + "\n")
    return EXIT_MISSED if chosen.enforce and not is_met else 0


def spool_in(directory: Path) -> DiskSpool:
    """A spool of the default settings, but for its bound."""
    return DiskSpool(Settings(bytes_max=1 << 40), directory, [SECRET], clock.SYSTEM, RealDisk(), reserved_for="signups.v1")


def events(count: int) -> list[Record]:
    """Syncs as a phone sends them, of one sample each."""
    forge, at_us = Forge("benchmark"), 1_769_519_405_000_000
    at = datetime.fromtimestamp(at_us / 1e6, tz=UTC)
    out: list[Record] = []
    for n in range(count):
        sample = Sample(n, "2026-01-27", 4_000 + n, at, "watch")
        out += forge.syncs(b"member-%06d" % n, (f"device-{n}", "ios", "1.4.2"), [sample], at_us)
    return out


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
    await spool.close()
    return Appended(waiting, len(took_s) / elapsed, len(took_s) / max(syncs, 1), cpu / len(took_s) * 1e6, sorted(took_s)[len(took_s) * 99 // 100] * 1e3)


async def fill(directory: Path, size: int, frames_of: int) -> None:
    """A backlog of so many bytes, in frames of so many records; many share a sync, or this would take an hour."""
    spool = spool_in(directory)
    await spool.open()
    records, segments, settings = events(1024), spool._log, Settings()  # noqa: SLF001
    first, written, lane = 0, 0, 0
    while written < size:
        groups = []
        for at in range(0, len(records), frames_of):
            lane = (lane + 1) % LANES
            groups.append(Group(("syncs.v1", lane), first, records[at : at + frames_of]))
            first += len(groups[-1].records)
        if not segments.has_room(1 << 20, settings.segment_bytes):
            segments.begin(groups[0].first, 0)
        held = segments._active  # noqa: SLF001
        assert held is not None
        placed, added = segments.commit(groups)
        held.part.frames += len(placed)
        held.part.size += added
        written += added
    segments.unlock()  # as a kill does
    spool._disk.close()  # noqa: SLF001


def measured(directory: Path, frames_of: int) -> Recovered:
    """Recover and replay it in a process of its own, whose memory is its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=recovering, args=(directory, frames_of, theirs))
    process.start()
    theirs.close()  # so that its end is heard, however it comes
    try:
        return Recovered(*ours.recv())
    except EOFError as exc:
        raise OSError("the process that recovers ended without an answer") from exc
    finally:
        process.join()


def recovering(directory: Path, frames_of: int, told: Connection) -> None:
    """In that process."""
    told.send(asyncio.run(recovered_and_replayed(directory, frames_of)))


async def recovered_and_replayed(directory: Path, frames_of: int) -> Sequence[object]:
    """Open, then read and settle everything."""
    os.sync()
    resident = Resident()
    before, cpu, started = resident.bytes(), process_time(), perf_counter()
    spool = spool_in(directory)
    await spool.open()
    seconds, cpu, growth = perf_counter() - started, process_time() - cpu, resident.bytes() - before
    mib = spool.size_bytes / 2**20
    records, most, started = sum(spool.waiting().values()), 0, perf_counter()
    while waiting := spool.waiting():
        for lane in waiting:
            batch = await spool.read(*lane, BATCH_BYTES)
            for sequence, _ in batch:
                spool.settle(range(sequence, sequence + 1))
        most = max(most, resident.bytes() - before)
        if perf_counter() - started > 30:  # the rate is known by now
            break
    replayed = (records - sum(spool.waiting().values())) / (perf_counter() - started)
    await spool.close()
    return frames_of, mib, records, seconds, cpu, growth / 2**20, replayed, most / 2**20


if __name__ == "__main__":
    sys.exit(main())
