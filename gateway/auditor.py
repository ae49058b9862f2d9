"""The supervisor's part of the loss audit: lines go to Kafka, and wait on disk until they have.

Decided here: what happens while Kafka or the disk is away.  Not decided here: what stands in a line (audit_lines.py),
what follows from it (audit_command.py).

    sheets ─audit_lines─▶ lines ─▶ <data_dir>/audit/<n>.lines ─▶ Kafka, deliver.audit_topic ─▶ the file is removed

Lines are on disk before they are sent, and sent again when nobody knows whether they arrived: a part that is there
twice counts once.  So they outlive the supervisor.  When that is killed its workers drain, and each leaves its lines in
a file of its own, for the next supervisor; only a worker that is killed together with it leaves none, for the board
goes with the last who has it.  With the disk away lines wait in memory alone.  Beyond LINES_BYTES_MAX, some hours of a busy machine, new ones are dropped, and their
minutes are not audited.  Nothing here ends the supervisor: without it the gateway serves on.

    <data_dir>/audit/home         16 hex digits, drawn once: names this data directory, in which the spool is, in its lines
    <data_dir>/audit/<n>.lines    the lines of one look, as they are sent; <n> grows; an orphaned worker takes its time in µs,
                                  and ours go on from there
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from gateway import logs
from gateway.audit_lines import Collector, record_of
from gateway.board import Board, Slot
from gateway.clock import Clock
from gateway.config import Deliver as Settings
from gateway.core import audit
from gateway.core.audit import Line
from gateway.core.event import Record, bytes_max
from gateway.disk import Disk
from gateway.errors import BatchRefused, BrokerAway, BrokerError
from gateway.kafka import Broker, key_hash

DIRECTORY: Final = "audit"
HOME_FILE: Final = "home"
LINES_BYTES_MAX: Final = 33_554_432
LOOK_S: Final = 1.0
_LOOKS_A_SEARCH: Final = 30  # so many until what orphaned workers left is looked for again: they may drain beside us
_GRACE_MS: Final = 10_000  # beyond deliver.timeout_ms
_BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0)
_BATCH_LINES_MAX: Final = 16
_LAST_S: Final = 1.0  # for the last lines, at the end
_SUFFIX: Final = ".lines"


class _Waiting(NamedTuple):
    """A line that Kafka has not acknowledged."""

    record: Record
    bytes_max: int
    file: int  # the number of the one it is in


class Auditor:
    """What the supervisor starts, tells of workers that ended, and closes."""

    def __init__(self, settings: Settings, board: Board, broker: Broker, disk: Disk, data_dir: Path, clock: Clock, machine: str) -> None:
        """Args: broker: of the audit's topic alone; disk: closed with this; machine: this one's name, for people."""
        self._topic = settings.audit_topic
        self._timeout_s = (settings.timeout_ms + settings.connect_timeout_ms) / 1000
        self._broker = broker
        self._disk = disk
        self._directory = data_dir / DIRECTORY
        self._clock = clock
        self._collector = Collector(board.slots[: board.workers], machine, settings.timeout_ms + _GRACE_MS)
        self._queue: deque[_Waiting] = deque()
        self._queue_bytes = 0
        self._unsaved: list[Line] = []
        self._file_number = 1
        self._partitions = 0  # 0: no contact
        self._has_lines = asyncio.Event()
        self._complaints: set[str] = set()
        self._results = board.supervisor.counters_by("sluicegate_audit_lines_total")
        self._uncounted = board.supervisor.counter("sluicegate_audit_uncounted_total")
        self._gauge = board.supervisor.gauge("sluicegate_audit_lines_waiting")

    async def run(self, random: Callable[[int], bytes]) -> None:
        """Look once a second, and post what is over."""
        await self._on_disk(partial(self._make_home, random))
        posting = asyncio.create_task(self._post_all())
        try:
            for look in count():
                if look % _LOOKS_A_SEARCH == 0:
                    await self._on_disk(self._find_lines)
                await self._keep(self._collector.look(self._clock.now_us()))
                await asyncio.sleep(LOOK_S)
                if posting.done():
                    posting.result()  # a loop that must not end died: say so, loudly
        finally:
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)

    def worker_ended(self, index: int) -> None:
        """The process in this seat is gone, and nobody else sits there yet."""
        self._unsaved += self._collector.ended(index, self._clock.now_us())

    async def close(self) -> None:
        """The last lines: all workers are gone, and `run` has ended.  What cannot be posted at once is left to the next start."""
        await self._keep(self._collector.end(self._clock.now_us()))
        with contextlib.suppress(TimeoutError, BrokerError):
            async with asyncio.timeout(_LAST_S):
                while self._queue and self._partitions:
                    await self._post()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self._broker.close()
        self._disk.close()

    # What waits

    async def _keep(self, lines: Sequence[Line]) -> None:
        """In the queue and on disk."""
        fresh, self._unsaved = [*self._unsaved, *lines], []
        self._uncounted.add(sum(line.uncounted for line in fresh))
        kept = [line for line in fresh if self._enqueue(line, self._file_number)]
        if kept:
            path = _path(self._directory, self._file_number)
            self._file_number += 1
            await self._on_disk(partial(_write, self._disk, path, _text(kept)))
            self._has_lines.set()

    def _enqueue(self, line: Line, file: int) -> bool:
        record = record_of(line)
        waiting = _Waiting(record, bytes_max((record,)), file)
        if self._queue_bytes + waiting.bytes_max > LINES_BYTES_MAX:
            self._results["dropped"].add()
            self._complain("too many lines of the audit wait for kafka: new ones are dropped")
            return False
        self._queue.append(waiting)
        self._queue_bytes += waiting.bytes_max
        self._gauge.set(len(self._queue))
        return True

    def _posted(self, lines: int) -> None:
        for _ in range(lines):
            self._queue_bytes -= self._queue.popleft().bytes_max
        self._gauge.set(len(self._queue))

    async def _on_disk(self, work: "partial[None] | Callable[[], None]") -> None:
        try:
            await self._disk.run(work)
        except OSError as exc:
            self._complain("lines of the audit are not kept on disk", exc.strerror or "")

    # In the disk's thread

    def _find_lines(self) -> None:
        """What earlier lives have not posted, and workers left that outlived one."""
        for number in _numbers(self._disk, self._directory):
            if number < self._file_number:
                continue  # ours, or looked at before
            for value in _read(self._disk, _path(self._directory, number)).splitlines():
                if (minute := audit.read(value)) is not None:  # the last one may be cut
                    self._enqueue(minute.line, number)
            self._file_number = number + 1
        if self._queue:
            self._has_lines.set()

    def _make_home(self, random: Callable[[int], bytes]) -> None:
        self._disk.make_directory(self._directory)
        if HOME_FILE not in self._disk.names(self._directory):
            _write(self._disk, self._directory / HOME_FILE, random(8).hex().encode())
            self._disk.sync_directory(self._directory)
        self._collector.home = home_of(self._disk, self._directory.parent)

    def _remove(self, before: int) -> None:
        """The files below this number: what is in them is posted."""
        for number in _numbers(self._disk, self._directory):
            if number < before:
                self._disk.unlink(_path(self._directory, number))

    # To Kafka

    async def _post_all(self) -> None:
        tries = 0
        while True:
            await self._has_lines.wait()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._post()
            except (BrokerError, TimeoutError) as exc:
                self._partitions = 0
                self._broker.discard()
                self._complain("lines of the audit cannot be posted", str(exc) or type(exc).__name__)
                await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
                tries += 1
            else:
                tries = 0

    async def _post(self) -> None:
        """The first lines that wait.  Raises BrokerError."""
        if not self._partitions:
            topic = (await self._broker.connect()).get(self._topic)
            if topic is None:
                raise BrokerAway(f"no topic {self._topic}")
            self._partitions = topic.partitions
        first = self._queue[0].file if self._queue else 0
        taken = [self._queue[at].record for at in range(min(_BATCH_LINES_MAX, len(self._queue)))]
        for partition in range(self._partitions):
            await self._send(partition, [record for record in taken if key_hash(record.key) % self._partitions == partition])
        self._posted(len(taken))
        if self._complaints:
            logs.info("lines of the audit are posted", topic=self._topic, waiting=len(self._queue))
            self._complaints.clear()
        if not self._queue:
            self._has_lines.clear()
        before = self._queue[0].file if self._queue else self._file_number
        if before > first:
            await self._on_disk(partial(self._remove, before))

    async def _send(self, partition: int, records: Sequence[Record]) -> None:
        """One batch; where it is refused for its content, line by line."""
        if not records:
            return
        try:
            await self._broker.send(self._topic, partition, records)
        except BatchRefused as exc:
            if len(records) == 1:
                self._results["refused"].add()
                logs.error("kafka refuses a line of the audit for good", key=records[0].event_id, reason=str(exc))
                return
            for record in records:
                await self._send(partition, [record])
        else:
            self._results["posted"].add(len(records))

    def _complain(self, what: str, reason: str = "") -> None:
        """Once, until lines are posted again: an outage has one line of each kind in the log."""
        if what not in self._complaints:
            logs.error(what, reason=reason, topic=self._topic)
        self._complaints.add(what)


def leave_lines(disk: Disk, data_dir: Path, slot: Slot, machine: str, now_us: int) -> None:
    """Of a worker that has drained, and whose supervisor is gone.  The next one posts them.  Raises OSError."""
    collector = Collector([slot], machine, 0)
    collector.home = home_of(disk, data_dir)
    directory = data_dir / DIRECTORY
    disk.make_directory(directory)
    number = next(number for number in count(now_us) if number not in _numbers(disk, directory))
    _write(disk, _path(directory, number), _text(collector.left(0, now_us)))


# What the directory says, also to who only looks


def home_of(disk: Disk, data_dir: Path) -> str:
    """The name of this data directory; empty where it has none.  Raises OSError."""
    directory = data_dir / DIRECTORY
    return _read(disk, directory / HOME_FILE).decode("ascii", errors="replace").strip() if HOME_FILE in disk.names(directory) else ""


def waiting_lines(disk: Disk, data_dir: Path) -> list[bytes]:
    """Lines that may not be in Kafka yet; the last of a file may be cut off.  Raises OSError."""
    directory = data_dir / DIRECTORY
    found = []
    for number in _numbers(disk, directory):
        with contextlib.suppress(FileNotFoundError):  # all of it was posted, just now
            found += [value for value in _read(disk, _path(directory, number)).splitlines() if audit.read(value) is not None]
    return found


def _text(lines: Sequence[Line]) -> bytes:
    return b"".join([audit.encoded(line) + b"\n" for line in lines])


def _numbers(disk: Disk, directory: Path) -> list[int]:
    names = [name.removesuffix(_SUFFIX) for name in disk.names(directory) if name.endswith(_SUFFIX)]
    return sorted(int(name) for name in names if name.isdecimal())


def _path(directory: Path, number: int) -> Path:
    return directory / f"{number}{_SUFFIX}"


def _write(disk: Disk, path: Path, data: bytes) -> None:
    """A new file, durable but for its name."""
    file = disk.create(path)
    try:
        file.append(data)
        file.sync()
    finally:
        file.close()


def _read(disk: Disk, path: Path) -> bytes:
    file = disk.open(path)
    try:
        return file.read(0, file.size())
    finally:
        file.close()
