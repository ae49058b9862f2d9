"""The supervisor's part of the loss audit: lines go to Kafka, and wait on disk until they have.

Decided here: what happens while Kafka or the disk is away.  Not decided here: what stands in a line (lines.py),
what is in the directory (files.py), what follows from a line (command.py).

    sheets ─lines.py─▶ lines ─▶ the queue ─▶ Kafka, deliver.audit_topic
                                    └─▶ <data_dir>/audit/….lines, removed when all of it is in Kafka

Three loops, of which none waits for another: one looks at the board each second, for a worker has few sheets; one
posts; one tends the disk, which may hang.  Lines are sent again when nobody knows whether they arrived: a part that is
there twice counts once.  What Kafka does not take within a second is on disk, and outlives the supervisor.  When that
is killed its workers drain, and each leaves what it counted in a file of its own, for the next supervisor; only a
worker that is killed together with it leaves none, for the board goes with the last who has it.  With the disk away
lines wait in memory alone.  Beyond LINES_BYTES_MAX, some hours of a busy machine, new ones are dropped, and their
minutes are not audited.  What counted events and is dropped, or refused by Kafka for good, leaves a line in its place
that says only how many: else its minute would look idle where another line of it fits, as a worker's last one does.
Nothing here ends the supervisor: without it the gateway serves on.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway import logs
from gateway.audit import files
from gateway.audit.lines import Collector, record_of
from gateway.board import Board, Slot
from gateway.clock import Clock
from gateway.config import Deliver as Settings
from gateway.core.audit import Line, uncounted
from gateway.core.event import bytes_max
from gateway.disk import Disk
from gateway.errors import BatchRefused, BrokerAway, BrokerError
from gateway.kafka import Broker, key_hash

T = TypeVar("T")
LINES_BYTES_MAX: Final = 33_554_432
_PLACES: Final = 4  # one part in so many more is for what stands in place of dropped lines: days, at a third of a kilobyte a minute and worker
LOOK_S: Final = 1.0
_LOOKS_A_SEARCH: Final = 30  # so many until what orphaned workers left is looked for again: they may drain beside us
_DRAFT_US: Final = 600_000_000  # an orphaned worker names its file, writes it within moments, and ends
_GRACE_MS: Final = 10_000  # beyond deliver.timeout_ms
_BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0)
_BATCH_LINES_MAX: Final = 16
_HOME_S: Final = 5.0  # the disk has this long to say whose lines these are; a worker has sheets for minutes
_LAST_S: Final = 1.0  # for each of the last things, at the end
_NOT_KEPT: Final = "lines of the audit are not kept on disk"


class _Waiting:
    """A line that Kafka has not acknowledged."""

    def __init__(self, line: Line, file: str) -> None:
        record = record_of(line)
        self.line = line
        self.bytes_max = bytes_max((record,))
        self.file = file  # the name of the one it is in; empty: in none yet


class Auditor:
    """What the supervisor starts, tells of workers that ended, and closes."""

    def __init__(self, settings: Settings, board: Board, broker: Broker, disk: Disk, data_dir: Path, clock: Clock, machine: str, home: str) -> None:
        """Args: broker: of the audit's topic alone; disk: closed with this; machine: this one's name, for people; home: drawn, for a directory without one."""
        self._topic = settings.audit_topic
        self._timeout_s = (settings.timeout_ms + settings.connect_timeout_ms) / 1000
        self._broker = broker
        self._disk = disk
        self._data_dir = data_dir
        self._clock = clock
        self._collector = Collector(board.slots[: board.workers], machine, settings.timeout_ms + _GRACE_MS)
        self._collector.home = home
        self._home_asked = asyncio.Event()
        self._is_home_known = False
        self._queue: deque[_Waiting] = deque()
        self._queue_bytes = 0
        self._files: set[str] = set()  # that were written or read by us, and are still there
        self._unreadable: set[str] = set()  # files that were said to be; they are tried again
        self._next_file = (f"{clock.now_us()}-{number}" for number in count())
        self._partitions = 0  # 0: no contact
        self._has_lines = asyncio.Event()
        self._complaints: set[str] = set()
        self._results = board.supervisor.counters_by("sluicegate_audit_lines_total")
        self._uncounted = board.supervisor.counter("sluicegate_audit_uncounted_total")
        self._gauge = board.supervisor.gauge("sluicegate_audit_lines_waiting")

    async def run(self) -> None:
        """Look once a second, and see to it that what is over is posted."""
        beside = [asyncio.create_task(self._tend_disk()), asyncio.create_task(self._post_all())]
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HOME_S):
                    await self._home_asked.wait()
            while True:
                self._take(self._collector.look(self._clock.now_us()))
                await asyncio.sleep(LOOK_S)
                for one in beside:
                    if one.done():
                        one.result()  # a loop that must not end died: say so, loudly
        finally:
            for one in beside:
                one.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def worker_ended(self, index: int) -> None:
        """The process in this seat is gone, and nobody else sits there yet."""
        self._take(self._collector.ended(index, self._clock.now_us()))

    async def close(self) -> None:
        """The last lines: all workers are gone, and `run` has ended.  What cannot be posted at once is left to the next start."""
        self._take(self._collector.end(self._clock.now_us()))
        await _briefly(self._save())
        await _briefly(self._post_rest())
        await _briefly(self._remove_posted())
        await _briefly(self._broker.close())
        self._disk.close()

    # What waits

    def _take(self, lines: Sequence[Line]) -> None:
        """New ones."""
        for line in lines:
            self._uncounted.add(line.uncounted)
            if self._enqueue_within(LINES_BYTES_MAX, line):
                continue
            self._results["dropped"].add()
            self._complain("too many lines of the audit wait for kafka: new ones are dropped")
            if line.acknowledged or line.uncounted:
                self._enqueue_within(LINES_BYTES_MAX + LINES_BYTES_MAX // _PLACES, uncounted(line))

    def _enqueue_within(self, bytes_max: int, line: Line) -> bool:
        waiting = _Waiting(line, "")
        if self._queue_bytes + waiting.bytes_max > bytes_max:
            return False
        self._enqueue(waiting)
        return True

    def _enqueue(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        self._queue_bytes += waiting.bytes_max
        self._gauge.set(len(self._queue))
        self._has_lines.set()

    def _posted(self, lines: int) -> None:
        for _ in range(lines):
            self._queue_bytes -= self._queue.popleft().bytes_max
        self._gauge.set(len(self._queue))

    # The disk

    async def _tend_disk(self) -> None:
        await self._on_disk(partial(files.remove_drafts, self._disk, self._data_dir, self._clock.now_us() - _DRAFT_US))
        for look in count():
            is_due = look % _LOOKS_A_SEARCH == 0
            if not self._is_home_known:
                await self._ask_home()
            if is_due:
                await self._find()
            if is_due or not self._complaints & {_NOT_KEPT}:
                await self._save()
            await self._remove_posted()
            await asyncio.sleep(LOOK_S)

    async def _ask_home(self) -> None:
        """Lines need one from the first on: until the disk says another, it is the drawn one, and what is not found of them is `elsewhere`."""
        home = await self._on_disk(partial(files.named_home, self._disk, self._data_dir, self._collector.home))
        if home is not None:
            self._collector.home, self._is_home_known = home, True
        self._home_asked.set()

    async def _find(self) -> None:
        """What earlier lives have not posted, and workers left that outlived one."""
        found = await self._on_disk(partial(files.lines_by_file, self._disk, self._data_dir, frozenset(self._files)))
        if found is None:
            return
        for name in found.unreadable:
            if name not in self._unreadable:
                logs.error("a file of the audit's lines cannot be read", file=name)
            self._unreadable.add(name)
        for name, lines in found.lines.items():
            fresh = [_Waiting(line, name) for line in lines]
            if self._queue and self._queue_bytes + sum(one.bytes_max for one in fresh) > LINES_BYTES_MAX:
                return  # they are on disk: later
            self._files.add(name)
            for one in fresh:
                self._enqueue(one)

    async def _save(self) -> None:
        """Into a file what is in none, unless Kafka was quicker."""
        unsaved = [one for one in self._queue if not one.file]
        if not unsaved:
            return
        name = next(self._next_file)
        if await self._on_disk(partial(files.put_lines, self._disk, self._data_dir, name, [one.line for one in unsaved])):
            self._files.add(name)
            for one in unsaved:
                one.file = name

    async def _remove_posted(self) -> None:
        """The files of which nothing waits any more."""
        done = frozenset(self._files - {one.file for one in self._queue}) if self._files else ()
        if not done:
            return
        if await self._on_disk(partial(files.remove, self._disk, self._data_dir, done)):
            self._files -= done

    async def _on_disk(self, work: Callable[[], T]) -> T | None:
        """None: the disk does not."""
        try:
            return await self._disk.run(work)
        except OSError as exc:
            self._complain(_NOT_KEPT, exc.strerror or "")
            return None

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
        taken = [self._queue[at].line for at in range(min(_BATCH_LINES_MAX, len(self._queue)))]
        for partition in range(self._partitions):
            await self._send(partition, [line for line in taken if key_hash(line.key) % self._partitions == partition])
        self._posted(len(taken))
        if self._complaints:
            logs.info("lines of the audit are posted", topic=self._topic, waiting=len(self._queue))
            self._complaints.clear()
        if not self._queue:
            self._has_lines.clear()

    async def _post_rest(self) -> None:
        while self._queue and self._partitions:
            await self._post()

    async def _send(self, partition: int, lines: Sequence[Line]) -> None:
        """One batch; where it is refused for its content, line by line."""
        if not lines:
            return
        try:
            await self._broker.send(self._topic, partition, [record_of(line) for line in lines])
        except BatchRefused as exc:
            if len(lines) == 1:
                await self._refused(partition, lines[0], str(exc))
                return
            for line in lines:
                await self._send(partition, [line])
        else:
            self._results["posted"].add(len(lines))

    async def _refused(self, partition: int, line: Line, reason: str) -> None:
        self._results["refused"].add()
        logs.error("kafka refuses a line of the audit for good", key=line.key.decode(), reason=reason)
        if line.acknowledged:
            await self._send(partition, [uncounted(line)])

    def _complain(self, what: str, reason: str = "") -> None:
        """Once, until lines are posted again: an outage has one line of each kind in the log."""
        if what not in self._complaints:
            logs.error(what, reason=reason, topic=self._topic)
        self._complaints.add(what)


async def _briefly(work: Coroutine[Any, Any, None]) -> None:
    """One of the last things: as far as it comes."""
    with contextlib.suppress(TimeoutError, BrokerError):
        async with asyncio.timeout(_LAST_S):
            await work


def leave_lines(disk: Disk, data_dir: Path, slot: Slot, machine: str, now_us: int, home: str) -> None:
    """Of a worker that has drained, and whose supervisor is gone.  The next one posts them.  Raises OSError.

    Args: home: drawn, for a directory without one.
    """
    collector = Collector([slot], machine, 0)
    collector.home = files.named_home(disk, data_dir, home)
    if lines := collector.left(0, now_us):
        files.put_lines(disk, data_dir, f"{now_us}-{lines[-1].worker}", lines)
