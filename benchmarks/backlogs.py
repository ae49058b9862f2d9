"""Backlogs as files: written as fast as the disk takes them, then recovered and replayed in a process of their own.

What is written is what the spool writes: the same segments, by its own code, with times that run as they would have.
That process has nothing else in it, so its memory is the spool's.  Beside each recovery stands what nobody could do
without: the same bytes read, and one crc of each.
"""

import asyncio
import multiprocessing
import os
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import NamedTuple

from gateway import clock
from gateway.config import Spool as Settings
from gateway.core.backlog import Lane
from gateway.core.event import Forge, Record
from gateway.core.lane import ranges
from gateway.core.payload import Sample
from gateway.disk import RealDisk
from gateway.memory import Resident
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.segments import Group

LANES = 12
PER_S = 200  # events, as they would have come
BATCH_BYTES = 262_144
_SECRET = bytes(32)
_COMMIT_RECORDS = 1_024  # a sync each would take an hour
_WINDOW_BYTES = 1 << 20


class Recovered(NamedTuple):
    """One backlog."""

    frames_of: int  # records
    mib: float
    records: int
    seconds: float  # to serving
    cpu_s: float
    bare_cpu_s: float  # of reading the same bytes, and a crc of each
    growth_mib: float
    replayed: int
    replayed_per_s: float
    replay_growth_mib: float
    is_in_order: bool


def spool_in(directory: Path, settings: Settings | None = None) -> DiskSpool:
    """A spool of the default settings, but for its bound."""
    return DiskSpool(settings or Settings(bytes_max=1 << 40), directory, [_SECRET], clock.SYSTEM, RealDisk(), reserved_for="signups.v1")


def events(count: int) -> list[Record]:
    """Syncs as a phone sends them, of one sample each."""
    forge, at_us = Forge("benchmark"), 1_769_519_405_000_000
    at = datetime.fromtimestamp(at_us / 1e6, tz=UTC)
    out: list[Record] = []
    for n in range(count):
        sample = Sample(n, "2026-01-27", 4_000 + n, at, "watch")
        out += forge.syncs(b"member-%06d" % n, (f"device-{n}", "ios", "1.4.2"), [sample], at_us)
    return out


async def fill(directory: Path, frames_of: int, *, size: int = 1 << 50, records: int = 1 << 50, segment_bytes: int = Settings().segment_bytes) -> None:
    """A backlog of so many bytes or records, in frames of so many records of PER_S a second.  It ends as a kill would end it."""
    spool = spool_in(directory)
    await spool.open()
    segments = spool._log  # noqa: SLF001 - what writes, without what shares a sync
    written = first = 0
    for groups in _commits(records, frames_of):
        if written >= size:
            break
        if not segments.has_room(1 << 20, segment_bytes):
            segments.begin(first, 0)
        held = segments._active  # noqa: SLF001
        assert held is not None
        _, added = segments.commit(groups)
        held.part.frames += len(groups)
        held.part.size += added
        written, first = written + added, groups[-1].first + len(groups[-1].records)
    segments.unlock()
    spool._disk.close()  # noqa: SLF001


def _commits(records: int, frames_of: int) -> Iterator[list[Group]]:
    made, dice = events(_COMMIT_RECORDS), Random(records)  # or the index would pack better than a real one
    for begin in range(0, records, _COMMIT_RECORDS):
        groups, end = list[Group](), min(begin + _COMMIT_RECORDS, records)
        for at in range(begin, end, frames_of):
            some = [_at_its_time(dice.choice(made), n) for n in range(at, min(at + frames_of, end))]
            groups.append(Group(("syncs.v1", dice.randrange(LANES)), at, some))
        yield groups


def _at_its_time(one: Record, number: int) -> Record:
    return Record(one.event_id, one.key, one.body, 1_769_519_405_000 + number * 1_000 // PER_S)


def measured(directory: Path, frames_of: int, replay_s: float) -> Recovered:
    """Recover it, and replay it for so long at most."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_recovering, args=(directory, frames_of, replay_s, theirs))
    process.start()
    theirs.close()  # so that its end is heard, however it comes
    try:
        return Recovered(*ours.recv())
    except EOFError as exc:
        raise OSError("the process that recovers ended without an answer") from exc
    finally:
        process.join()


def _recovering(directory: Path, frames_of: int, replay_s: float, told: Connection) -> None:
    """In that process."""
    told.send(tuple(asyncio.run(recovered_and_replayed(directory, frames_of, replay_s))))


async def recovered_and_replayed(directory: Path, frames_of: int, replay_s: float) -> Recovered:
    """Open it, then read and settle."""
    os.sync()
    bare_cpu_s = _bare_cpu_s(directory)
    resident = Resident()
    before, cpu_s, started = resident.bytes(), process_time(), perf_counter()
    spool = spool_in(directory)
    await spool.open()
    seconds, cpu_s, growth = perf_counter() - started, process_time() - cpu_s, resident.bytes() - before
    mib = spool.size_bytes / 2**20
    records, most, started, is_in_order = sum(spool.waiting().values()), growth, perf_counter(), True
    last: dict[Lane, tuple[int, int]] = {}
    while (waiting := spool.waiting()) and perf_counter() - started < replay_s:
        for lane in waiting:
            batch = await spool.read(*lane, BATCH_BYTES)
            order = [last.get(lane, (-1, -1)), *((sequence, record.timestamp_ms) for sequence, record in batch)]
            is_in_order = is_in_order and all(one[0] < other[0] and one[1] <= other[1] for one, other in pairwise(order))
            last[lane] = order[-1]
            for sequences in ranges([sequence for sequence, _ in batch]):
                spool.settle(sequences)
        most = max(most, resident.bytes() - before)
    replayed = records - sum(spool.waiting().values())
    per_s = replayed / max(perf_counter() - started, 1e-9)
    await spool.close()
    return Recovered(frames_of, mib, records, seconds, cpu_s, bare_cpu_s, growth / 2**20, replayed, per_s, most / 2**20, is_in_order)


def _bare_cpu_s(directory: Path) -> float:
    """Every byte read, and in one crc: what no recovery can do without."""
    started = process_time()
    for path in sorted(directory.glob("*.spool")):
        with path.open("rb", buffering=0) as file:
            while window := file.read(_WINDOW_BYTES):
                zlib.crc32(window)
    return process_time() - started
