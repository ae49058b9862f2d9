"""gateway.spool.store.Spool in memory: the promise without the disk, for tests of whoever uses one.

It sits the exam of tests/contracts/test_spool.py, and has these switches:

    latency_s           a sync takes so long; what arrives meanwhile shares the next
    hang / go_on        no sync ends; what waited is then written
    records_max         beyond so many that wait it is full, for topics that nothing is reserved for
    fail_writes         so many syncs fail; with `is_written` the records are on disk all the same
    is_broken           nothing can be appended
    rejected_max        so many are kept apart
    after_a_crash       the spool that a next life finds

`shelf` outlives it: what a process that is killed leaves on disk, by directory.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from gateway.core.backlog import Lane
from gateway.core.event import Record, bytes_max
from gateway.errors import SpoolFailed, SpoolFull
from gateway.spool.store import Reason

_IDS = count(1)


class Kept:
    """One directory."""

    def __init__(self) -> None:
        self.next = 1
        self.spool_id = next(_IDS)
        self.records: dict[int, tuple[Lane, Record]] = {}
        self.rejected: list[tuple[int, Record]] = []
        self.is_locked = False


Shelf = dict[Path, Kept]


class _Append(NamedTuple):
    lane: Lane
    records: Sequence[Record]
    future: "asyncio.Future[range]"


class MemorySpool:
    """A spool of one worker."""

    def __init__(self, directory: Path = Path("/spool/0"), shelf: Shelf | None = None, *, reserved_for: str = "signups") -> None:
        self.shelf = {} if shelf is None else shelf
        self.directory = directory
        self.latency_s = 0.0
        self.records_max: int | None = None
        self.fail_writes = 0
        self.is_written = False
        self.is_broken = False
        self.rejected_max = 1_000
        self.appends: list[list[str]] = []  # the event ids of every append, in order
        self.now_s = 0.0
        self.frames_synced = 0
        self.frames_failed = 0
        self.frames_set_aside = self.segments_damaged = 0  # what is in memory can always be read
        self._reserved_for = reserved_for
        self._kept = self.shelf.setdefault(directory, Kept())
        self._entries: dict[int, tuple[Lane, Record]] = dict(self._kept.records)
        self._adopted: dict[int, tuple[Kept, int]] = {}  # sequence of ours → where it came from
        self._adoptions: list[Kept] = []
        self._aside: set[int] = set()
        self._settled: list[int] = []
        self._waiting: Counter[Lane] = Counter()
        self._running = asyncio.Event()
        self._running.set()
        self._queue: list[_Append] = []
        self._writer: asyncio.Task[None] | None = None
        self._is_open = False
        self._finder: asyncio.Task[None] | None = None  # until another process lets go of the directory
        self.on_found: Callable[[], object] = lambda: None

    # Switches

    def hang(self) -> None:
        """End no sync from now on."""
        self._running.clear()

    def go_on(self) -> None:
        """End syncs again, what waited first."""
        self._running.set()

    def kill(self) -> None:
        """Its process is gone: it writes no more, and its locks are free."""
        if self._writer is not None:
            self._writer.cancel()
        self._kept.is_locked = False

    def after_a_crash(self) -> "MemorySpool":
        """What a next life finds, opened: what was confirmed and not settled, and what was not confirmed and is there."""
        self.kill()
        found = MemorySpool(self.directory, self.shelf, reserved_for=self._reserved_for)
        found.recover()
        return found

    @property
    def records(self) -> list[Record]:
        """Everything that waits, in order."""
        return [record for _, (_, record) in self._in_order()]

    # What gateway.spool.store.Spool promises

    async def open(self) -> None:
        if not self.recover():
            self._finder = asyncio.get_running_loop().create_task(self._find())

    async def _find(self) -> None:
        while not self.recover():
            await asyncio.sleep(0.01)
        self.on_found()

    def recover(self) -> bool:
        """`open`, at once; False where another has it."""
        if self._kept.is_locked:
            return False
        self._kept.is_locked = True
        self._entries = dict(self._kept.records)
        self._waiting = Counter(lane for lane, _ in self._entries.values())
        self._is_open = True
        return True

    def append(self, topic: str, partition: int, records: Sequence[Record], *, is_moved: bool = False) -> "asyncio.Future[range]":
        if not self._is_open or self.is_broken:
            raise SpoolFailed("broken")
        if not is_moved and self._is_full(len(records)) and topic != self._reserved_for:
            raise SpoolFull("full")
        loop = asyncio.get_running_loop()
        self.appends.append([record.event_id for record in records])
        one = _Append((topic, partition), records, loop.create_future())
        self._queue.append(one)
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write())
        return one.future

    def settle(self, sequences: range) -> None:
        for sequence in [one for one in self._entries if one in sequences]:
            lane, _ = self._entries.pop(sequence)
            self._settled.append(sequence)  # a kill forgets that
            if sequence in self._aside:
                self._aside.discard(sequence)
            else:
                self._waiting[lane] -= 1

    def reject(self, topic: str, partition: int, sequence: int, record: Record) -> None:
        assert self._entries[sequence] == ((topic, partition), record)
        if len(self.rejected) < self.rejected_max:
            self.rejected.append((sequence, record))
            self.settle(range(sequence, sequence + 1))
        elif sequence not in self._aside:
            self._aside.add(sequence)
            self._waiting[topic, partition] -= 1

    async def read(self, topic: str, partition: int, bytes_max: int) -> list[tuple[int, Record]]:
        await asyncio.sleep(0)
        found: list[tuple[int, Record]] = []
        for sequence, (lane, record) in self._in_order():
            if lane == (topic, partition):
                bytes_max -= _size(record)
                if bytes_max < 0 and found:
                    break
                found.append((sequence, record))
        return found

    def waiting(self) -> Mapping[Lane, int]:
        return {lane: waiting for lane, waiting in self._waiting.items() if waiting}

    async def adopt(self, directory: Path) -> bool:
        kept = self.shelf.get(directory)
        if kept is None or kept.is_locked:
            return False
        kept.is_locked = True
        self._adoptions.append(kept)
        shift = self._kept.next - min(kept.records, default=0)
        for sequence, (lane, record) in kept.records.items():
            self._entries[sequence + shift] = lane, record
            self._waiting[lane] += 1
            self._adopted[sequence + shift] = kept, shift
        self._kept.next = max(self._kept.next, kept.next + shift)
        return True

    async def close(self) -> None:
        self._is_open = False
        if self._writer is not None:
            await self._writer
        for sequence in self._settled:
            kept, shift = self._adopted.get(sequence, (self._kept, 0))
            kept.records.pop(sequence - shift, None)
        for kept in (self._kept, *(kept for kept, _ in self._adopted.values())):
            kept.is_locked = False

    def failed(self) -> BaseException | None:
        return None

    def takes(self, topic: str) -> bool:
        return self.reason == "ok" or (self.reason == "full" and topic == self._reserved_for)

    @property
    def is_open(self) -> bool:
        return self.reason == "ok"

    @property
    def reason(self) -> Reason:
        if not self._is_open:
            return "failed" if self._finder is not None and not self._finder.done() else "closed"
        return "failed" if self.is_broken else "full" if self._is_full(1) else "ok"

    @property
    def size_bytes(self) -> int:
        return sum(_size(record) for _, record in self._entries.values())

    @property
    def rejected(self) -> list[tuple[int, Record]]:
        """What is kept apart, by this life and by those before."""
        return self._kept.rejected

    @property
    def rejected_bytes(self) -> int:
        there = [self._kept, *self._adoptions] if self._is_open else []
        return sum(_size(record) for kept in there for _, record in kept.rejected)

    @property
    def waiting_bytes(self) -> int:
        return sum(_size(record) for _, (_, record) in self._in_order())

    @property
    def records_aside(self) -> int:
        return len(self._aside)

    @property
    def oldest_s(self) -> float:
        return max((self.now_s - record.timestamp_ms // 1000 for _, record in self._entries.values()), default=0.0)

    @property
    def watermark(self) -> int:
        return min((sequence for sequence in self._entries if sequence not in self._adopted), default=self._kept.next)

    @property
    def spool_id(self) -> int:
        return self._kept.spool_id if self._is_open else 0

    async def give_up_ids(self) -> None:
        for kept in (self._kept, *self._adoptions):
            kept.spool_id = next(_IDS)

    def watermarks(self) -> Mapping[int, int]:
        adopted = {kept.spool_id: kept.next for kept in self._adoptions}
        for sequence in sorted(self._adopted.keys() & self._entries.keys(), reverse=True):
            kept, shift = self._adopted[sequence]
            adopted[kept.spool_id] = sequence - shift
        return {self.spool_id: self.watermark, **adopted} if self._is_open else adopted

    # How

    def _in_order(self) -> list[tuple[int, tuple[Lane, Record]]]:
        return [(sequence, entry) for sequence, entry in self._entries.items() if sequence not in self._aside]

    def _is_full(self, more: int) -> bool:
        return self.records_max is not None and len(self._entries) + more > self.records_max

    async def _write(self) -> None:
        """Sync by sync, as long as something waits; each takes all that waits."""
        while self._queue:
            frame, self._queue = self._queue, []
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._running.wait()
            is_failed, self.fail_writes = self.fail_writes > 0, max(self.fail_writes - 1, 0)
            lanes = len({one.lane for one in frame})
            self.frames_failed += lanes * is_failed
            self.frames_synced += lanes * (not is_failed)
            for one in frame:
                first, self._kept.next = self._kept.next, self._kept.next + len(one.records)
                entries = {sequence: (one.lane, record) for sequence, record in enumerate(one.records, first)}
                if not is_failed or self.is_written:
                    self._kept.records |= entries
                if is_failed:
                    one.future.set_exception(SpoolFailed("a write was lost"))
                    continue
                self._entries |= entries
                self._waiting[one.lane] += len(one.records)
                one.future.set_result(range(first, self._kept.next))


def _size(record: Record) -> int:
    return bytes_max((record,))
