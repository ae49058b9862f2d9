"""One worker's spool on disk: what Kafka has not acknowledged, until it has.

Connected here, and nothing else decided: each part is a file, and owns its state; the package's docstring has the map.

All reading and writing is done in the disk's one thread; the loop only keeps the books.  Who is spooled is decided in
deliver.py.

A directory that is adopted keeps its files where they are; only in this process its records have sequences of ours.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from gateway import logs
from gateway.clock import Clock
from gateway.config import Spool as Settings
from gateway.core import record as form
from gateway.core.backlog import Lane
from gateway.core.event import Record
from gateway.disk import Disk
from gateway.errors import ConfigError, SpoolFailed, SpoolFull
from gateway.spool.books import Books
from gateway.spool.commits import Commits
from gateway.spool.ids import Ids
from gateway.spool.recovery import recovered
from gateway.spool.rejected import Rejected, kept_bytes
from gateway.spool.replay import Replay
from gateway.spool.segments import Group, Recovered, Segments
from gateway.spool.store import Reason
from gateway.spool.sweep import Sweep
from gateway.spool.tasks import Tasks

# With less room than a sync of a few samples takes, the spool says that it is full.
_ROOM_BYTES: Final = 4_096
_ASK_AGAIN_S: Final = 1.0
_ASK_AGAIN_MAX_S: Final = 60.0  # of a disk that fails: each try reads the whole directory
_REFUSED_AGAIN_S: Final = 10.0
_REFUSED_MAX: Final = 1_000  # records in memory, while the disk does not take them
_REJECTED: Final = "rejected"


class _Theirs:
    """A directory to adopt, for as long as that is tried: its leftovers are known to one `Segments`."""

    def __init__(self, segments: Segments) -> None:
        self.segments = segments
        self.failures = 0
        self.due_s = 0.0  # the loop's clock; not asked again before


class DiskSpool:
    """gateway.spool.store.Spool on a disk."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        secrets: Sequence[bytes],
        clock: Clock,
        disk: Disk,
        *,
        reserved_for: str,
        spares: Sequence[Path] = (),
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Args:
        directory: this worker's; spares: the first free one of these is, while somebody has that.
        secrets: newest first; disk: closed with the spool; reserved_for: the topic of sign-ups.
        """
        self._bytes_max = settings.bytes_max
        self._clock = clock
        self._disk = disk
        self._new_segments: Callable[[Path], Segments] = lambda path: Segments(disk, path, secrets, random)
        self._log = Segments(disk, directory, secrets, random, spares=spares)
        self._rejected = Rejected(self._new_segments(directory / _REJECTED), settings.rejected_bytes_max)
        self._rejected_elsewhere_bytes: dict[Path, int] = {}  # in directories that were adopted
        self._refused: deque[tuple[int, Group]] = deque()  # by Kafka, for good; still to be kept apart
        self._is_put_off = False  # what was refused waits for a disk that failed
        self._is_closed = False
        self._tasks = Tasks(self._broke)
        self._books = Books(settings, self._log, reserved_for)
        self._sweep = Sweep(disk, self._books, self._tasks)
        self._ids = Ids(disk, self._log, random)
        self._commits = Commits(settings, disk, self._log, self._ids, self._books, self._sweep, self._tasks, self._found)
        self._sweep.on_late = self._joined
        self._replay = Replay(disk, self._books)
        self._theirs: dict[Path, _Theirs] = {}
        self._seen_bytes: dict[Path, int] = {}  # of records, in directories that may be adopted
        self.records_rejected = 0
        self.on_found: Callable[[], object] = lambda: None

    # What may be asked at any time

    @property
    def is_open(self) -> bool:
        return self.reason == "ok"

    @property
    def reason(self) -> Reason:
        if why := self._commits.why_not:
            return "closed" if why == "closed" else "failed"
        return "ok" if self._books.has_room(_ROOM_BYTES, "") else "full"

    @property
    def size_bytes(self) -> int:
        return self._books.size_bytes

    @property
    def waiting_bytes(self) -> int:
        return self._books.backlog.waiting_bytes()

    @property
    def records_aside(self) -> int:
        return self._books.records_aside

    @property
    def oldest_s(self) -> float:
        oldest = self._books.backlog.oldest_s()
        return 0.0 if oldest is None else max(self._clock.now_us() / 1e6 - oldest, 0.0)

    @property
    def directory(self) -> Path:
        """The one that is written to."""
        return self._log.directory

    @property
    def watermark(self) -> int:
        return self._books.watermark

    @property
    def spool_id(self) -> int:
        return self._ids.own

    async def give_up_ids(self) -> None:
        try:
            await self._disk.run(self._ids.give_up)
        except OSError as exc:
            raise SpoolFailed(exc.strerror or "") from exc

    def watermarks(self) -> Mapping[int, int]:
        return self._ids.watermarks(self._books.watermark, self._books.backlog)

    @property
    def frames_synced(self) -> int:
        """Frames that are durable."""
        return self._commits.frames_synced

    @property
    def frames_failed(self) -> int:
        """Frames that the disk did not take."""
        return self._commits.frames_failed

    @property
    def frames_set_aside(self) -> int:
        """Frames that are damaged, or cannot be read."""
        return self._books.frames_set_aside

    @property
    def segments_damaged(self) -> int:
        return self._books.segments_damaged

    @property
    def rejected_bytes(self) -> int:
        return self._rejected.kept_bytes + sum(self._rejected_elsewhere_bytes.values())

    def takes(self, topic: str) -> bool:
        return not self._commits.why_not and (self._books.has_room(_ROOM_BYTES, "") or self._books.has_room(_ROOM_BYTES, topic))

    def waiting(self) -> Mapping[Lane, int]:
        return self._books.backlog.waiting()

    def failed(self) -> BaseException | None:
        return self._tasks.failure

    # Start and stop

    async def open(self) -> None:
        await self._commits.open()
        if self._commits.why_not:  # the disk may hang
            self._tasks.run("look", self._look)
        else:
            await self._look()

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for name in ("adopt", "again", *(("reject",) if self._is_put_off else ())):
            self._tasks.cancel(name)
        await self._commits.close()
        await self._disk.run(self._rejected.segments.unlock)
        await self._sweep.close()
        self._disk.close()

    async def _idle(self) -> None:
        """Return when nothing is done in the background."""
        await self._tasks.idle()

    def _found(self) -> None:
        self._tasks.run("look", self._look)  # whoever had it until now may have added to it
        self.on_found()  # as it is by now

    def _joined(self) -> None:
        self._commits.roll_next()  # what is appended later stands behind them, in a segment of its own
        self.on_found()

    async def _look(self) -> None:
        await self._disk.run(self._rejected.look)

    def _broke(self) -> None:
        self._commits.broke()

    # Appending, and what became of it

    def append(self, topic: str, partition: int, records: Sequence[Record], *, is_moved: bool = False) -> "asyncio.Future[range]":
        if why := self._commits.why_not:
            raise SpoolFailed(why)
        added_bytes = form.frame_bytes_max(topic, records)
        if not is_moved and not self._books.has_room(added_bytes, topic):
            raise SpoolFull(f"{self._books.size_bytes + self._books.promised_bytes} bytes of {self._bytes_max}")
        return self._commits.append((topic, partition), records, added_bytes)

    async def read(self, topic: str, partition: int, bytes_max: int) -> list[tuple[int, Record]]:
        return await self._replay.read((topic, partition), bytes_max)

    def settle(self, sequences: range) -> None:
        self._books.backlog.settle(sequences)
        if self._books.backlog.has_emptied:
            self._sweep.begin()
            self._commits.roll_if_empty()

    def reject(self, topic: str, partition: int, sequence: int, record: Record) -> None:
        self._books.backlog.put_aside(range(sequence, sequence + 1))
        self._refused.append((sequence, Group((topic, partition), 0, [record])))
        self._tasks.run("reject", self._keep_refused)

    async def _keep_refused(self) -> None:
        is_told = False
        while self._refused:
            sequence, group = self._refused[0]
            try:
                is_kept = await self._disk.run(partial(self._rejected.keep, [group]))
            except OSError as exc:
                if not is_told:
                    logs.error("a rejected record cannot be kept apart", reason=exc.strerror)
                is_told = True
                while len(self._refused) > _REFUSED_MAX:
                    self._refused.pop()  # it stays where it is, until the next start
                if self._is_closed:
                    return
                self._is_put_off = True
                await asyncio.sleep(_REFUSED_AGAIN_S)
                self._is_put_off = False
                continue
            self._refused.popleft()
            if is_kept:
                self.records_rejected += 1
                self.settle(range(sequence, sequence + 1))

    # Adoption

    def adopt_all(self, directories: Sequence[Path]) -> None:
        """Adopt each of these but our own in the background: now, or when whoever still has it is gone."""
        self._tasks.run("adopt", partial(self._adopt_all, directories))

    def adopt_from(self, root: Path, chosen: Callable[[Sequence[str]], Sequence[str]]) -> None:
        """The same for those that are chosen of a directory's names, when the disk has said which there are."""
        self._tasks.run("adopt", partial(self._adopt_from, root, chosen))

    async def _adopt_from(self, root: Path, chosen: Callable[[Sequence[str]], Sequence[str]]) -> None:
        """For as long as we are: beside us somebody may sit down in a directory, and be gone before our next start."""
        directories, due_s = list[Path](), 0.0
        while True:
            if (now_s := asyncio.get_running_loop().time()) >= due_s:
                due_s = now_s + _ASK_AGAIN_MAX_S
                directories += [one for one in await self._left_in(root, chosen) if one not in directories]
            directories = await self._adopt_each(directories)
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _left_in(self, root: Path, chosen: Callable[[Sequence[str]], Sequence[str]]) -> list[Path]:
        """Those that were never looked into, and those in which something else lies than at the last look."""
        ours = {self.directory, *self._sweep.directories}
        try:
            sizes = await self._disk.run(partial(self._sizes, root, chosen, ours))
        except OSError as exc:
            logs.warning("nobody knows which spools were left", reason=exc.strerror)
            return []
        left = [one for one, size in sizes.items() if one not in self._seen_bytes or size not in {0, self._seen_bytes[one]}]
        self._seen_bytes |= sizes
        return left

    def _sizes(self, root: Path, chosen: Callable[[Sequence[str]], Sequence[str]], ours: set[Path]) -> dict[Path, int]:
        """In the disk's thread: the bytes of records in each, but for ours.  By the files' sizes: it costs no reading."""
        sizes: dict[Path, int] = {}
        for directory in [root / name for name in chosen(self._disk.names(root))]:
            if directory not in ours:
                try:
                    sizes[directory] = self._new_segments(directory).frames_bytes()
                except OSError:  # whoever is in it has removed a file just now
                    sizes[directory] = self._seen_bytes.get(directory, 0)
        return sizes

    async def _adopt_all(self, directories: Sequence[Path]) -> None:
        while directories:
            directories = await self._adopt_each(directories)
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _adopt_each(self, directories: Sequence[Path]) -> list[Path]:
        """Those that are left to adopt."""
        if not self._commits.is_recovered:  # until then nobody knows which one is our own, nor which sequences it has given
            return [*directories]
        left = [one for one in directories if one != self.directory and not (self._is_due(one) and await self.adopt(one))]
        if len(left) < len(directories):
            self.on_found()
        return left

    def _is_due(self, directory: Path) -> bool:
        return directory not in self._theirs or self._theirs[directory].due_s <= asyncio.get_running_loop().time()

    async def adopt(self, directory: Path) -> bool:
        if not self._commits.is_recovered:
            return False  # the sequences that theirs would get may be our own
        theirs = self._theirs.setdefault(directory, _Theirs(self._new_segments(directory)))
        segments = theirs.segments
        try:
            found, spool_id = await self._taken_over(segments)
        except (OSError, ConfigError) as exc:
            if not theirs.failures:
                logs.warning("a spool cannot be adopted", directory=directory.name, reason=exc.strerror if isinstance(exc, OSError) else str(exc))
                self._books.segments_damaged += isinstance(exc, ConfigError)  # its key is not there: a person has to bring it
            theirs.failures += 1
            theirs.due_s = asyncio.get_running_loop().time() + min(_ASK_AGAIN_S * 2.0 ** min(theirs.failures, 10), _ASK_AGAIN_MAX_S)
            return False
        if found is None:
            return False
        del self._theirs[directory]
        shift = 0
        if not found.is_empty:
            shift = self._books.take_over(found)
            self._sweep.adopted(segments)
            self._sweep.begin()
            self._commits.roll_next()  # what is appended later stands behind them, in a segment of its own
        else:
            self._books.note_damage(found)
        rejected = self._new_segments(directory / _REJECTED)
        if rejected.directory == self._rejected.segments.directory:  # in a spare directory, ours is the seat's all the same
            await self._look()
        else:
            self._rejected_elsewhere_bytes[directory] = await self._disk.run(partial(kept_bytes, rejected))
        self._ids.adopted(spool_id, segments, found, shift)
        return True

    async def _taken_over(self, segments: Segments) -> tuple[Recovered | None, int]:
        """What another directory holds, locked, and its id; None where somebody else has it, or it is not there.

        It may take seconds, so the disk's thread gets it in steps: what is appended meanwhile goes in between.
        """
        if not await self._disk.run(partial(self._locked, segments)):
            return None, 0
        try:
            found = await recovered(self._disk, segments, self._books.backlog)
            spool_id = await self._disk.run(partial(self._ids.taken_over, segments.directory, found))
            if not found.is_empty:
                # Its next sequence has to outlive its segments, which may go from now on.
                await self._disk.run(partial(segments.begin, found.next_sequence, 0))
        except BaseException:
            await self._disk.run(segments.unlock)
            raise
        await self._disk.run(segments.unlock if found.is_empty else segments.abandon)
        return found, spool_id

    def _locked(self, segments: Segments) -> bool:
        """In the disk's thread: ours until it is unlocked."""
        return segments.directory.name in self._disk.names(segments.directory.parent) and segments.lock()
