"""One worker's spool on disk: what Kafka has not acknowledged, until it has.

Decided here: what shares a sync, when the disk counts as failed, and what is refused when.  Not decided here:
bytes (core/record.py), what waits (core/backlog.py), the order of writes and syncs and what recovery makes of a
crash (segments.py), and who is spooled (deliver.py).  Bounds are the settings' bytes.

    append ─▶ pending ─commit─▶ one write, one fdatasync ─▶ the future: its sequences
    read ◀── backlog ◀──────────────── its frames' places
    settle ─▶ backlog ─▶ a segment with nothing left is unlinked, once a newer one is durable

One commit is in progress at a time; all that is appended meanwhile is in the next.  All of it, and all reading, is
done in the disk's one thread: the loop only keeps the books.

A write or sync that fails fails all that waited for it, is never tried again, and ends its segment: what was synced
in it before stays good.  From then on `append` raises; once a second a new segment is tried, and when that is durable
the spool is open again.  What cannot be unlinked is tried again with the next.  A frame that cannot be read again is
put aside: it stays in its segment, and the next start looks at it once more.

A directory that is adopted keeps its files where they are; only in this process its records have sequences of ours.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from gateway import logs
from gateway.clock import Clock
from gateway.config import Spool as Settings
from gateway.core import record as form
from gateway.core.backlog import Backlog, Lane, Part, Spot
from gateway.core.event import Record, bytes_max
from gateway.disk import Disk
from gateway.errors import ConfigError, SpoolFailed, SpoolFull
from gateway.rejected import Rejected
from gateway.segments import Group, Held, Opened, Recovered, Segments
from gateway.spool_store import Reason

PROBE_S: Final = 1.0
# So much one sync covers: on the slowest disk worth the name it takes a tenth of a second.
_COMMIT_BYTES_MAX: Final = 4 << 20
# And so much a frame: it is what replay holds in memory, and what damage can cost.
_FRAME_BYTES_MAX: Final = 256 << 10
# With less room than a sync of a few samples takes, the spool says that it is full.
_ROOM_BYTES: Final = 4_096
# A segment with nothing left is replaced before it is full when it has this share: a kill would replay it in vain.
_ROLL_SHARE: Final = 64
_REJECTED: Final = "rejected"


class _Append:
    """One call of append, until its records are durable."""

    __slots__ = ("bytes_max", "first", "future", "lane", "records")

    def __init__(self, lane: Lane, records: Sequence[Record], added_bytes: int, future: "asyncio.Future[range]") -> None:
        self.lane = lane
        self.records = records
        self.bytes_max = added_bytes
        self.future = future
        self.first = -1


class _Written(NamedTuple):
    """What one trip to the disk's thread did."""

    begun: Held | None
    placed: list[tuple[Group, int]]
    bytes: int
    error: OSError | None


class DiskSpool:
    """gateway.spool_store.Spool on a disk."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        secrets: Sequence[bytes],
        clock: Clock,
        disk: Disk,
        *,
        reserved_for: str,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Args: directory: this worker's; secrets: newest first; disk: closed with the spool; reserved_for: the topic of sign-ups."""
        self._settings = settings
        self._clock = clock
        self._disk = disk
        self._reserved_for = reserved_for
        self._new_segments: Callable[[Path], Segments] = lambda path: Segments(disk, path, secrets, random)
        self._log = self._new_segments(directory)
        self._rejected = Rejected(self._new_segments(directory / _REJECTED), settings.rejected_bytes_max)
        self._adopted: list[Segments] = []
        self._backlog = Backlog()
        self._current: Held | None = None
        self._next = 0  # the sequence that is given next
        self._unbooked: int | None = None  # the first of those given in the commit that is in progress
        self._pending: list[_Append] = []
        self._pending_bytes = 0
        self._size_bytes = 0
        self._wants_roll = False
        self._is_recovered = self._is_failed = self._is_closed = False
        self._doomed: list[Held] = []
        self._refused: deque[tuple[int, Group]] = deque()  # by Kafka, for good; still to be kept apart
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None
        self.frames_synced = 0
        self.frames_failed = 0
        self.frames_set_aside = 0  # damaged, or not readable; each may have held several records
        self.records_rejected = 0

    # What may be asked at any time

    @property
    def is_open(self) -> bool:
        return self.reason == "ok"

    @property
    def reason(self) -> Reason:
        if self._is_failed or self._is_closed or not self._is_recovered:
            return "failed"
        return "ok" if self._has_room(_ROOM_BYTES, "") else "full"

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def records_aside(self) -> int:
        return sum(part.aside for part in self._backlog.parts)

    @property
    def oldest_s(self) -> float:
        oldest = self._backlog.oldest_s()
        return 0.0 if oldest is None else max(self._clock.now_us() / 1e6 - oldest, 0.0)

    @property
    def watermark(self) -> int:
        own = [part for part in self._backlog.parts if _held(part).segments is self._log]
        return self._backlog.watermark(own, self._next if self._unbooked is None else self._unbooked)

    def takes(self, topic: str) -> bool:
        return self.reason == "ok" or (self.reason == "full" and self._has_room(_ROOM_BYTES, topic))

    def waiting(self) -> Mapping[Lane, int]:
        return self._backlog.waiting()

    def failed(self) -> BaseException | None:
        return self._failure

    def _has_room(self, added_bytes: int, topic: str) -> bool:
        reserve = 0 if topic == self._reserved_for else self._settings.signups_reserve_bytes
        return self._size_bytes + self._pending_bytes + added_bytes <= self._settings.bytes_max - reserve

    # Start and stop

    async def open(self) -> None:
        try:
            await self._recover()
            self._activate(await self._disk.run(partial(self._log.begin, self._next, self._settings.segment_bytes)))
        except OSError as exc:
            self._fail(exc, [])

    async def _recover(self) -> None:
        if not await self._disk.run(self._log.lock):
            raise ConfigError(f"spool {self._log.directory}: another process has it")
        try:
            found = await self._disk.run(partial(self._log.recover, self._backlog))
        except BaseException:
            await self._disk.run(self._log.unlock)
            raise
        self._take_in(found)
        self._next = found.next_sequence
        self._is_recovered = True

    def _take_in(self, found: Recovered) -> None:
        for held in found.held:
            self._backlog.add(held.part)
            self._size_bytes += held.part.size
        self.frames_set_aside += found.set_aside
        if found.frames or found.set_aside:
            logs.info(
                "a spool was recovered",
                directory=str(found.held[0].segments.directory.name),
                frames=found.frames,
                set_aside=found.set_aside,
                torn_bytes=found.torn_bytes,
            )

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if (probe := self._tasks.get("probe")) is not None:
            probe.cancel()
        await self._idle()
        if self._current is not None and self._current.part.starts and not self._is_failed and not self._own_waiting():
            self._wants_roll = True  # so that the next start replays nothing in vain
            self._run("commit", self._commit_all)
            await self._idle()
        for segments in (self._log, self._rejected.segments, *self._adopted):
            await self._disk.run(segments.unlock)
        self._disk.close()

    async def _idle(self) -> None:
        """Return when no background task runs."""
        while self._tasks:
            await asyncio.wait([*self._tasks.values()])
            await asyncio.sleep(0)  # their callbacks take them out

    def _own_waiting(self) -> bool:
        return any(part.waiting or part.aside for part in self._backlog.parts if _held(part).segments is self._log)

    def _run(self, name: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Begin a background task, unless it runs."""
        if name not in self._tasks or self._tasks[name].done():  # done, and its callback still to come
            task = asyncio.get_running_loop().create_task(work())
            self._tasks[name] = task
            task.add_done_callback(partial(self._ended, name))

    def _ended(self, name: str, task: "asyncio.Task[None]") -> None:
        if self._tasks[name] is task:
            del self._tasks[name]
        if not task.cancelled() and (exc := task.exception()):
            self._failure = exc
            self._is_failed = True
            self._refuse_pending("a bug")

    # Appending

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> "asyncio.Future[range]":
        if self._is_failed or self._is_closed or not self._is_recovered:
            raise SpoolFailed("closed" if self._is_closed else "the disk failed")
        added_bytes = form.frame_bytes_max(topic, records)
        if not self._has_room(added_bytes, topic):
            raise SpoolFull(f"{self._size_bytes + self._pending_bytes} bytes of {self._settings.bytes_max}")
        future: asyncio.Future[range] = asyncio.get_running_loop().create_future()
        self._pending.append(_Append((topic, partition), records, added_bytes, future))
        self._pending_bytes += added_bytes
        self._run("commit", self._commit_all)
        return future

    async def _commit_all(self) -> None:
        while (self._pending or self._wants_roll) and not self._is_failed:
            await self._commit(self._taken())

    def _taken(self) -> list[_Append]:
        """What goes into the next commit: from the front, at least one where there is any."""
        taken, taken_bytes = 0, 0
        for one in self._pending:
            taken_bytes += one.bytes_max
            if taken and taken_bytes > _COMMIT_BYTES_MAX:
                break
            taken += 1
        out, self._pending = self._pending[:taken], self._pending[taken:]
        return out

    async def _commit(self, appends: Sequence[_Append]) -> None:
        first = self._unbooked = self._next
        groups = self._numbered(appends)
        added_bytes = sum(one.bytes_max for one in appends)
        written = await self._disk.run(partial(self._write, groups, first, added_bytes, self._wants_roll))
        self._unbooked = None
        self._pending_bytes -= added_bytes
        if written.begun is not None:
            self._activate(written.begun)
        if written.error is not None:
            self.frames_failed += len(groups)
            if written.bytes:
                self._count_bytes(written.bytes)
            self._fail(written.error, appends)
            return
        self._book(written)
        for one in appends:
            if not one.future.done():  # a request that was cancelled waits no longer
                one.future.set_result(range(one.first, one.first + len(one.records)))

    def _numbered(self, appends: Sequence[_Append]) -> list[Group]:
        """Give sequences, lane by lane, each in the order of its appends; the frames they make."""
        by_lane: dict[Lane, list[_Append]] = {}
        for one in appends:
            by_lane.setdefault(one.lane, []).append(one)
        groups: list[Group] = []
        for lane, ones in by_lane.items():
            first = self._next
            for one in ones:
                one.first = self._next
                self._next += len(one.records)
            groups += _framed(lane, first, [record for one in ones for record in one.records])
        return groups

    def _write(self, groups: Sequence[Group], first: int, added_bytes: int, is_roll: bool) -> _Written:
        """In the disk's thread."""
        begun, segment_bytes = None, self._settings.segment_bytes
        if is_roll or not self._log.has_room(added_bytes, segment_bytes):
            try:
                begun = self._log.begin(first, segment_bytes)
            except OSError as exc:
                return _Written(None, [], 0, exc)
        if not groups:
            return _Written(begun, [], 0, None)
        try:
            placed, written_bytes = self._log.commit(groups)
        except OSError as exc:
            return _Written(begun, [], added_bytes, exc)  # as many as may be there
        return _Written(begun, placed, written_bytes, None)

    def _book(self, written: _Written) -> None:
        """What was synced stands in the backlog from now on."""
        if not written.placed:
            return
        part = self._count_bytes(written.bytes)
        self.frames_synced += len(written.placed)
        for group, place in written.placed:
            self._backlog.put(part, group.first, len(group.records), group.lane, place, group.records[0].timestamp_ms)

    def _count_bytes(self, written_bytes: int) -> Part:
        """The segment that is written to grew."""
        assert self._current is not None
        self._current.part.size += written_bytes
        self._size_bytes += written_bytes
        return self._current.part

    def _activate(self, held: Held) -> None:
        """A new segment is durable: those before it may go when nothing in them waits."""
        for part in self._backlog.parts:
            part.is_sealed = part.is_sealed or _held(part).segments is held.segments
        self._current = held
        self._backlog.add(held.part)
        self._size_bytes += held.part.size
        self._wants_roll = False
        self._drop_done()

    # When the disk fails

    def _fail(self, exc: OSError, appends: Sequence[_Append]) -> None:
        logs.error("the spool's disk failed", reason=exc.strerror, directory=self._log.directory.name)
        self._is_failed = True
        for one in appends:
            _refuse(one, exc.strerror or "")
        self._refuse_pending(exc.strerror or "")
        if not self._is_closed:
            self._run("probe", self._probe)

    def _refuse_pending(self, why: str) -> None:
        pending, self._pending = self._pending, []
        for one in pending:
            self._pending_bytes -= one.bytes_max
            _refuse(one, why)

    async def _probe(self) -> None:
        """Try a new segment once a second, until one is durable."""
        while self._is_failed:
            await asyncio.sleep(PROBE_S)
            try:
                if not self._is_recovered:
                    await self._recover()
                held = await self._disk.run(partial(self._log.begin, self._next, self._settings.segment_bytes))
            except OSError:
                continue
            self._is_failed = False
            self._activate(held)
            logs.info("the spool's disk takes it again", directory=self._log.directory.name)

    # What became of records

    def settle(self, sequences: range) -> None:
        self._backlog.settle(sequences)
        if not self._backlog.has_emptied:
            return
        self._drop_done()
        current = self._current
        if current is not None and not self._is_failed and not current.part.waiting and not current.part.aside:
            self._wants_roll = self._wants_roll or current.part.size > self._settings.segment_bytes // _ROLL_SHARE
            if self._wants_roll:
                self._run("commit", self._commit_all)

    def _drop_done(self) -> None:
        done = self._backlog.drop_done()
        if done:
            self._doomed += [_held(part) for part in done]
            self._run("sweep", self._sweep)

    async def _sweep(self) -> None:
        """Remove the segments that are done with; what cannot be removed is tried again with the next ones."""
        while self._doomed:
            held = self._doomed[0]
            try:
                await self._disk.run(partial(held.segments.unlink, held))
            except FileNotFoundError:
                pass
            except OSError as exc:
                logs.warning("a segment of the spool cannot be removed", name=held.name, reason=exc.strerror)
                return
            del self._doomed[0]
            self._size_bytes -= held.part.size
            for segments in [one for one in self._adopted if not self._keeps(one)]:
                self._adopted.remove(segments)
                await self._disk.run(segments.unlock)

    def _keeps(self, segments: Segments) -> bool:
        return any(_held(part).segments is segments for part in self._backlog.parts) or any(held.segments is segments for held in self._doomed)

    def reject(self, topic: str, partition: int, sequence: int, record: Record) -> None:
        self._backlog.put_aside(range(sequence, sequence + 1))
        self._refused.append((sequence, Group((topic, partition), 0, [record])))
        self._run("reject", self._keep_refused)

    async def _keep_refused(self) -> None:
        while self._refused:
            sequence, group = self._refused.popleft()
            if await self._disk.run(partial(self._rejected.keep, [group])):
                self.records_rejected += 1
                self.settle(range(sequence, sequence + 1))

    # Replay

    async def read(self, topic: str, partition: int, bytes_max: int) -> list[tuple[int, Record]]:
        while spots := self._picked((topic, partition), bytes_max):
            found: list[tuple[int, Record]] = []
            for spot, one in zip(spots, await self._disk.run(partial(_read, spots)), strict=True):
                if one is not None:
                    found += [(sequence, record) for sequence, record in zip(spot.sequences, one[1], strict=False) if spot.part.waits(sequence)]
                elif self._backlog.put_aside(spot.sequences):
                    self.frames_set_aside += 1
            if out := _fitting(found, bytes_max):
                return out
            # All of these have been settled meanwhile, or are put aside now: the next look goes further.
        return []

    def _picked(self, lane: Lane, bytes_wanted: int) -> list[Spot]:
        spots, picked_bytes = [], 0
        for spot in self._backlog.spots(lane):
            spots.append(spot)
            picked_bytes += spot.length_max
            if picked_bytes >= bytes_wanted:
                break
        return spots

    # Adoption

    async def adopt(self, directory: Path) -> bool:
        segments = self._new_segments(directory)
        try:
            found = await self._disk.run(partial(self._taken_over, segments))
        except OSError as exc:
            logs.warning("a spool cannot be adopted", directory=directory.name, reason=exc.strerror)
            return False
        if found is None:
            return False
        if found.frames:
            # Behind all of ours; what is appended later is behind them, in a segment of its own.
            shift = self._next - found.held[0].part.first
            for held in found.held:
                held.part.first += shift
                held.part.is_sealed = True
            self._next = found.next_sequence + shift
            self._wants_roll = True
            self._adopted.append(segments)
            self._take_in(found)
            self._drop_done()
        return True

    def _taken_over(self, segments: Segments) -> Recovered | None:
        """In the disk's thread: what another directory holds, locked; None where somebody else has it, or it is not there."""
        directory = segments.directory
        if directory.name not in self._disk.names(directory.parent) or not segments.lock():
            return None
        try:
            found = segments.recover(self._backlog)
            if found.frames:
                # Its next sequence has to outlive its segments, which may go from now on.
                segments.begin(found.next_sequence, 0)
                segments.abandon()
        except BaseException:
            segments.unlock()
            raise
        if not found.frames:
            segments.unlock()
        return found


def _held(part: Part) -> Held:
    assert isinstance(part.owner, Held)
    return part.owner


def _refuse(one: _Append, why: str) -> None:
    if not one.future.done():
        one.future.set_exception(SpoolFailed(why))


def _framed(lane: Lane, first: int, records: list[Record]) -> list[Group]:
    """The records of a lane in frames of a size."""
    groups, start, size = [], 0, 0
    for at, record in enumerate(records):
        added = form.frame_bytes_max("", (record,))
        if size and size + added > _FRAME_BYTES_MAX:
            groups.append(Group(lane, first + start, records[start:at]))
            start, size = at, 0
        size += added
    return [*groups, Group(lane, first + start, records[start:])]


def _read(spots: Sequence[Spot]) -> list[Opened | None]:
    """In the disk's thread: the frames, in order."""
    opened: list[Opened | None] = []
    for part, some in groupby(spots, key=lambda spot: spot.part):
        held = _held(part)
        opened += held.segments.read(held, [(spot.place, spot.length_max) for spot in some])
    return opened


def _fitting(found: list[tuple[int, Record]], batch_bytes_max: int) -> list[tuple[int, Record]]:
    """From the front, as many as a batch of that size takes; at least one."""
    taken_bytes = 0
    for at, (_, record) in enumerate(found):
        taken_bytes += bytes_max((record,))
        if at and taken_bytes > batch_bytes_max:
            return found[:at]
    return found
