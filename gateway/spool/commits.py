"""What a spool writes: appends share a sync, and a disk that fails is believed at once.

Decided here: what shares a sync and what a frame, when the disk counts as failed, and when it is tried again.  Not
decided here: the order of writes and syncs (segments.py), and what is refused for its bytes (books.py).

    append ─▶ pending ─commit─▶ one write, one fdatasync ─▶ the books ─▶ the future: its sequences

One commit is in progress at a time; all that is appended meanwhile is in the next, and so is what follows at once from
its answers.

A write or sync that fails fails all that waited for it, is never tried again, and ends its segment: what was synced
in it before stays good.  From then on `append` raises; once a second a new segment is tried, and when that is durable
the spool is open again.  A disk that hangs at the start counts as failed too, until it has answered.
"""

import asyncio
import errno
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from gateway import logs
from gateway.config import Spool as Settings
from gateway.core import record as form
from gateway.core.backlog import Lane
from gateway.core.event import Record
from gateway.disk import Disk
from gateway.errors import SpoolFailed
from gateway.spool.books import Books
from gateway.spool.ids import Ids
from gateway.spool.recovery import recovered
from gateway.spool.segments import Group, Held, Segments
from gateway.spool.sweep import Sweep
from gateway.spool.tasks import Tasks

PROBE_S: Final = 1.0
# A start waits for a recovery as long as it moves on.  A step is a mebibyte: no disk that works takes so long for it.
HANGS_S: Final = 5.0
# So much one sync covers: on the slowest disk worth the name it takes a tenth of a second.
_COMMIT_BYTES_MAX: Final = 4 << 20
# And so much a frame: it is what replay holds in memory, and what damage can cost.
_FRAME_BYTES_MAX: Final = 256 << 10
# A segment with nothing left is replaced before it is full when it has this share: a kill would replay it in vain.
_ROLL_SHARE: Final = 64


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


class Commits:
    """The writing side of one spool."""

    def __init__(
        self, settings: Settings, disk: Disk, log: Segments, ids: Ids, books: Books, sweep: Sweep, tasks: Tasks, on_found: Callable[[], object]
    ) -> None:
        """Args: on_found: called when what is there was found after `open` only."""
        self._segment_bytes = settings.segment_bytes
        self._disk = disk
        self._log = log
        self._ids = ids
        self._books = books
        self._sweep = sweep
        self._tasks = tasks
        self._on_found = on_found
        self._pending: list[_Append] = []
        self._wants_roll = False
        self._rolls_from = 0  # what is given from here on does not belong into a segment that begins before it
        self._steps = 0  # of the recovery that is in progress
        self._is_recovered = self._is_failed = self._is_closed = False
        self.frames_synced = 0
        self.frames_failed = 0

    @property
    def is_recovered(self) -> bool:
        """Whether it is known which sequences our own directory has given."""
        return self._is_recovered

    @property
    def why_not(self) -> str:
        """What is wrong with the disk, or with us; empty where it takes what the bound allows."""
        if self._is_closed or not (self._is_recovered or self._is_failed):
            return "closed"
        return "the disk failed" if self._is_failed else ""

    # Start and stop

    async def open(self) -> None:
        """Find what is there and begin a segment.  What cannot be now is tried again until it can; a disk that hangs is not waited for."""
        opening = asyncio.create_task(self._open())
        steps = -1
        try:
            while not opening.done() and steps != self._steps:
                steps = self._steps
                await asyncio.wait([opening], timeout=HANGS_S)
        except BaseException:
            opening.cancel()
            raise
        if opening.done():
            opening.result()
        else:
            logs.error("the spool's disk hangs", directory=self._log.directory.name)
            self._is_failed = True
            self._tasks.run("open", partial(self._open_late, opening))

    async def _open_late(self, opening: asyncio.Task[None]) -> None:
        await opening
        self._on_found()

    async def _open(self) -> None:
        try:
            await self._recover()
            held = await self._disk.run(self._begin)
        except OSError as exc:
            self._fail(exc, [])
        else:
            self._is_failed = False
            self._activate(held)

    def _stepped(self) -> None:
        self._steps += 1

    async def _recover(self) -> None:
        if not await self._disk.run(self._log.lock):
            # So many that are about to end: each one's supervisor was killed, and another started beside it.
            raise OSError(errno.EBUSY, "another process has it")
        self._stepped()
        try:
            found = await recovered(self._disk, self._log, self._books.backlog, self._stepped)
            await self._disk.run(partial(self._ids.recovered, found))
            self._stepped()
        except BaseException:
            await self._disk.run(self._log.unlock)
            raise
        self._books.take_in(found)
        self._books.next = found.next_sequence
        self._is_recovered = True

    def _begin(self) -> Held:
        """In the disk's thread: something to write to, and the id that its sequences go by."""
        self._ids.draw()
        return self._log.begin(self._books.next, self._segment_bytes)

    async def close(self) -> None:
        """Take no more, and make durable what was taken."""
        self._is_closed = True
        for name in ("open", "probe"):
            self._tasks.cancel(name)
        await self._tasks.idle()
        current = self._books.current
        if current is not None and current.part.frames and not self._is_failed and self._books.is_own_empty:
            self.roll()  # so that the next start replays nothing in vain
            await self._tasks.idle()
        await self._disk.run(self._log.unlock)

    # Appending

    def append(self, lane: Lane, records: Sequence[Record], added_bytes: int) -> "asyncio.Future[range]":
        """Their sequences, once they are durable.  Args: added_bytes: at most; the books have room for them."""
        future: asyncio.Future[range] = asyncio.get_running_loop().create_future()
        self._pending.append(_Append(lane, records, added_bytes, future))
        self._books.promised_bytes += added_bytes
        self._tasks.run("commit", self._commit_all)
        return future

    def roll_next(self) -> None:
        """Begin a new segment before the next sequence that is given."""
        self._wants_roll, self._rolls_from = True, self._books.next

    def roll(self) -> None:
        """Begin a new segment at once."""
        self._wants_roll = True
        self._tasks.run("commit", self._commit_all)

    def roll_if_empty(self) -> None:
        """Begin one where nothing in this one is left and it is worth it."""
        current = self._books.current
        if current is None or self._is_failed or current.part.waiting or current.part.aside:
            return
        if self._wants_roll or current.part.size > self._segment_bytes // _ROLL_SHARE:
            self.roll()

    async def _commit_all(self) -> None:
        while (self._pending or self._wants_roll) and not self._is_failed:
            await self._commit(self._taken())
            await asyncio.sleep(0)  # a lane that has just heard of its append makes the next one: it shares the next sync

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
        first = self._books.next
        groups = self._numbered(appends)
        added_bytes = sum(one.bytes_max for one in appends)
        written = await self._disk.run(partial(self._write, groups, first, added_bytes, self._wants_roll))
        self._books.promised_bytes -= added_bytes
        if written.begun is not None:
            self._activate(written.begun)
        if written.error is not None:
            self.frames_failed += len(groups)
            if written.bytes:
                self._books.grew(written.bytes)
            self._fail(written.error, appends)
            return
        self._books.book(written.placed, written.bytes)
        self.frames_synced += len(written.placed)
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
            for one in ones:
                one.first = self._books.give(len(one.records))
            groups += _framed(lane, ones)
        return groups

    def _write(self, groups: Sequence[Group], first: int, added_bytes: int, is_roll: bool) -> _Written:
        """In the disk's thread."""
        begun = None
        if is_roll or not self._log.has_room(added_bytes, self._segment_bytes):
            try:
                begun = self._log.begin(first, self._segment_bytes)
            except OSError as exc:
                return _Written(None, [], 0, exc)
        if not groups:
            return _Written(begun, [], 0, None)
        try:
            placed, written_bytes = self._log.commit(groups)
        except OSError as exc:
            return _Written(begun, [], added_bytes, exc)  # as many as may be there
        return _Written(begun, placed, written_bytes, None)

    def _activate(self, held: Held) -> None:
        """A new segment is durable: those before it may go when nothing in them waits."""
        self._books.activate(held)
        self._wants_roll = held.part.first < self._rolls_from  # it was on its way when that was asked
        self._sweep.begin()

    # When the disk fails

    def broke(self) -> None:
        """A bug ended what runs in the background: nothing more is taken."""
        self._is_failed = True
        self._refuse_pending("a bug")

    def _fail(self, exc: OSError, appends: Sequence[_Append]) -> None:
        logs.error("the spool's disk failed", reason=exc.strerror, directory=self._log.directory.name)
        self._is_failed = True
        for one in appends:
            _refuse(one, exc.strerror or "")
        self._refuse_pending(exc.strerror or "")
        if not self._is_closed:
            self._tasks.run("probe", self._probe)

    def _refuse_pending(self, why: str) -> None:
        pending, self._pending = self._pending, []
        for one in pending:
            self._books.promised_bytes -= one.bytes_max
            _refuse(one, why)

    async def _probe(self) -> None:
        """Try a new segment once a second, until one is durable."""
        while self._is_failed:
            await asyncio.sleep(PROBE_S)
            try:
                if not self._is_recovered:
                    await self._recover()
                    self._on_found()
                held = await self._disk.run(self._begin)
            except OSError:
                continue
            self._is_failed = False
            self._activate(held)
            logs.info("the spool's disk takes it again", directory=self._log.directory.name)


def _refuse(one: _Append, why: str) -> None:
    if not one.future.done():
        one.future.set_exception(SpoolFailed(why))


def _framed(lane: Lane, appends: Sequence[_Append]) -> Iterator[Group]:
    """The records of a lane in frames of a size: appends stay whole, but for those that are larger than a frame."""
    first, records, size = appends[0].first, list[Record](), 0
    for one in appends:
        for some, added in [(one.records, one.bytes_max)] if one.bytes_max <= _FRAME_BYTES_MAX else _cut(one.records):
            if records and size + added > _FRAME_BYTES_MAX:
                yield Group(lane, first, records)
                first, records, size = first + len(records), [], 0
            records += some
            size += added
    yield Group(lane, first, records)


def _cut(records: Sequence[Record]) -> Iterator[tuple[Sequence[Record], int]]:
    return (((record,), form.frame_bytes_max("", (record,))) for record in records)
