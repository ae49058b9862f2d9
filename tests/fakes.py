"""Stand-ins a test can steer: a broker in memory, a clock that is set, a loop whose time is virtual.

`FakeBroker` keeps what gateway.kafka.Broker promises (tests/contracts/test_broker.py examines it
beside the real one) and has switches for what a real one does on a bad day:

    latency_s           an acknowledgement takes so long
    pause / resume      nothing answers; sends and contacts wait, as with a frozen broker
    kill / revive       everything outstanding and everything new raises BrokerAway
    lose_acks           batches are stored, and their producer breaks before it hears of it
    fail                batches to a partition this is true for fail, and only they
    refuse              a batch with a record this is true for is refused for its content

It judges a batch by the broker's own law: as a whole, by max.message.bytes, never in part.

`MemorySpool` keeps what gateway.spool_store.Spool promises (tests/contracts/test_spool_store.py) and has these:

    latency_s           a write takes so long; what arrives meanwhile shares the next
    hang / go_on        no write ends; what waited is then written
    records_max         beyond so many that wait it is full
    fail_writes         so many writes fail; with `is_written` the records are on disk all the same
    is_readable         reads fail while it is False
    after_a_crash       the spool that a next life finds
"""

import asyncio
import functools
import os
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import ParamSpec

from gateway.board import Board, Slot
from gateway.clock import Clock
from gateway.core.event import Record
from gateway.errors import BatchRefused, BrokerAway, PartitionFailed, SpoolFailed, SpoolFull
from gateway.kafka import Topic
from tests.records import Stored, built, read


class FakeClock:
    """Two clocks that stand still until a test moves them."""

    def __init__(self, now_us: int = 1_769_519_405_000_000, monotonic_s: float = 100.0) -> None:
        self.now_us = now_us
        self.monotonic_s = monotonic_s

    @property
    def clock(self) -> Clock:
        return Clock(now_us=lambda: self.now_us, monotonic_s=lambda: self.monotonic_s)

    def advance(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)
        self.monotonic_s += seconds


class FakeBroker:
    """gateway.kafka.Broker in memory."""

    def __init__(self, *topics: Topic) -> None:
        self._topics = {topic.name: topic for topic in topics}
        self._logs: dict[str, list[tuple[int, Stored]]] = {topic.name: [] for topic in topics}
        self._running = asyncio.Event()
        self._running.set()
        self._is_dead = False
        self._producer: asyncio.Future[None] | None = None  # done once it is discarded
        self.latency_s = 0.0
        self.lose_acks = 0  # so many batches are stored and not acknowledged
        self.refuse: Callable[[Record], bool] = lambda _: False
        self.fail: Callable[[str, int], bool] = lambda _topic, _partition: False
        self.connects = 0
        self.batches: list[list[str]] = []  # the event ids of every batch sent, in order
        self.sending = 0
        self.sending_max: dict[tuple[str, int], int] = {}
        self._sending_to: dict[tuple[str, int], int] = {}
        self.is_closed = False

    # Switches

    def pause(self) -> None:
        """Answer nothing from now on."""
        self._running.clear()

    def resume(self) -> None:
        """Answer again, what waited first."""
        self._running.set()

    def kill(self) -> None:
        """Break every connection and refuse new ones."""
        self._is_dead = True
        self.discard()

    def revive(self) -> None:
        """Take connections again."""
        self._is_dead = False

    def put_topic(self, topic: Topic) -> None:
        """Make a topic, or change its settings."""
        self._topics[topic.name] = topic
        self._logs.setdefault(topic.name, [])

    def drop_topic(self, name: str) -> None:
        """The topic is gone, its log too."""
        del self._topics[name]
        del self._logs[name]

    def log(self, topic: str) -> list[tuple[int, Stored]]:
        """Every record of a topic with its partition, in the order stored."""
        return self._logs[topic]

    # What gateway.kafka.Broker promises

    async def connect(self) -> Mapping[str, Topic]:
        topics = await self.topics()
        self.connects += 1
        self.discard()
        self._producer = asyncio.get_running_loop().create_future()
        return topics

    async def topics(self) -> Mapping[str, Topic]:
        await self._running.wait()
        if self._is_dead:
            raise BrokerAway("dead")
        return dict(self._topics)

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        producer = self._producer
        if producer is None:
            raise BrokerAway("not connected")
        place = topic, partition
        self.batches.append([record.event_id for record in records])
        self._sending_to[place] = self._sending_to.get(place, 0) + 1
        self.sending_max[place] = max(self.sending_max.get(place, 0), self._sending_to[place])
        self.sending += 1
        answer = asyncio.ensure_future(self._answer(topic, partition, records))
        try:
            await asyncio.wait([answer, producer], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise BrokerAway("discarded")
            answer.result()
        finally:
            answer.cancel()
            self.sending -= 1
            self._sending_to[place] -= 1

    def discard(self) -> None:
        if self._producer is not None:
            self._producer.set_result(None)
            self._producer = None

    async def close(self) -> None:
        self.discard()
        self.is_closed = True

    async def _answer(self, name: str, partition: int, records: Sequence[Record]) -> None:
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        await self._running.wait()
        topic = self._topics.get(name)
        if topic is None or partition >= topic.partitions:
            raise PartitionFailed("no such partition")
        if self.fail(name, partition):
            raise PartitionFailed("no leave to write")
        batch = built(records)
        if len(batch) > topic.batch_bytes_max or any(map(self.refuse, records)):
            raise BatchRefused("content")
        self._logs[name] += [(partition, record) for record in read(batch)]
        if self.lose_acks:
            self.lose_acks -= 1
            raise BrokerAway("the connection broke after the batch was stored")


class MemorySpool:
    """gateway.spool_store.Spool in memory."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.records_max: int | None = None
        self.fail_writes = 0
        self.is_written = False
        self.is_readable = True
        self.is_broken = False
        self.rejected: list[tuple[int, Record]] = []
        self.appends: list[list[str]] = []  # the event ids of every append, in order
        self._running = asyncio.Event()
        self._running.set()
        self._entries: dict[int, tuple[str, int, Record]] = {}
        self._unconfirmed: dict[int, tuple[str, int, Record]] = {}  # on disk though their write failed
        self._waiting: Counter[tuple[str, int]] = Counter()
        self._next = 1
        self._queue: list[tuple[str, int, Sequence[Record], asyncio.Future[range]]] = []
        self._writer: asyncio.Task[None] | None = None

    # Switches

    def hang(self) -> None:
        """End no write from now on."""
        self._running.clear()

    def go_on(self) -> None:
        """End writes again, what waited first."""
        self._running.set()

    def after_a_crash(self) -> "MemorySpool":
        """What a next life finds: what was confirmed and not settled, and what was not confirmed and is there.  This one writes no more."""
        if self._writer is not None:
            self._writer.cancel()
        found = MemorySpool()
        found._entries = dict(sorted((self._entries | self._unconfirmed).items()))
        found._waiting = Counter((topic, partition) for topic, partition, _ in found._entries.values())
        found._next = self._next
        return found

    @property
    def records(self) -> list[Record]:
        """Everything that waits, in order."""
        return [record for _, _, record in self._entries.values()]

    # What gateway.spool_store.Spool promises

    @property
    def is_open(self) -> bool:
        return not self.is_broken and not self._is_full(0)

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> "asyncio.Future[range]":
        if self._is_full(len(records)):
            raise SpoolFull("full")
        loop = asyncio.get_running_loop()
        self.appends.append([record.event_id for record in records])
        future: asyncio.Future[range] = loop.create_future()
        self._queue.append((topic, partition, records, future))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write())
        return future

    def settle(self, sequences: range) -> None:
        assert sequences.stop <= self._next, "settled before it was written"
        for sequence in sequences:
            self._forget(sequence)

    def reject(self, topic: str, partition: int, sequence: int, record: Record) -> None:
        assert self._entries[sequence] == (topic, partition, record)
        self._forget(sequence)
        self.rejected.append((sequence, record))

    async def read(self, topic: str, partition: int, bytes_max: int) -> list[tuple[int, Record]]:
        await asyncio.sleep(0)
        if not self.is_readable:
            raise SpoolFailed("unreadable")
        found: list[tuple[int, Record]] = []
        for sequence, (of, part, record) in self._entries.items():
            if (of, part) == (topic, partition):
                bytes_max -= len(record.body)
                if bytes_max < 0 and found:
                    break
                found.append((sequence, record))
        return found

    def waiting(self) -> Mapping[tuple[str, int], int]:
        return self._waiting

    def _is_full(self, more: int) -> bool:
        return self.records_max is not None and len(self._entries) + max(more, 1) > self.records_max

    def _forget(self, sequence: int) -> None:
        if sequence in self._entries:
            topic, partition, _ = self._entries.pop(sequence)
            self._waiting[topic, partition] -= 1

    async def _write(self) -> None:
        """Write by write, as long as something waits; each takes all that waits."""
        while self._queue:
            frame, self._queue = self._queue, []
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._running.wait()
            is_failed, self.fail_writes = self.fail_writes > 0, max(self.fail_writes - 1, 0)
            for topic, partition, records, future in frame:
                first, self._next = self._next, self._next + len(records)
                entries = {sequence: (topic, partition, record) for sequence, record in enumerate(records, first)}
                if not is_failed:
                    self._entries |= entries
                    self._waiting[topic, partition] += len(records)
                    future.set_result(range(first, self._next))
                    continue
                if self.is_written:
                    self._unconfirmed |= entries
                future.set_exception(SpoolFailed("a write was lost"))


def new_slot() -> Slot:
    """A worker's part of a fresh board."""
    board = Board.create(1)
    os.close(board.fd)  # mapped it stays; thousands of examples would use up all descriptors
    return board.slots[0]


def count(slot: Slot, name: str, *labels: str) -> int:
    """What one counter of the slot says now."""
    return slot.counter(name, *labels).value


# Virtual time


class _Hurry(selectors.DefaultSelector):
    """Waits for nothing: what a loop would sleep is added to its time at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen again: the test waits for an event nobody sets"
            self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer: seconds pass in microseconds, always in the same order."""

    def __init__(self) -> None:
        self._hurry = _Hurry()
        super().__init__(self._hurry)

    def time(self) -> float:
        return self._hurry.now_s

    @property
    def clock(self) -> Clock:
        """The loop's time as the gateway's clock."""
        return Clock(now_us=lambda: round((1_769_519_405 + self.time()) * 1e6), monotonic_s=self.time)


_P = ParamSpec("_P")


def in_virtual_time(test: Callable[_P, Coroutine[object, object, None]]) -> Callable[_P, None]:
    """Runs an async test in a loop of its own, in virtual time, for at most an hour of it."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        async def within_an_hour() -> None:
            async with asyncio.timeout(3600):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(within_an_hour())

    return run
