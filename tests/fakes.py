"""Stand-ins a test can steer: a broker in memory, a clock that is set, a loop whose time is virtual.

`FakeBroker` keeps what gateway.kafka.Broker promises (tests/contracts/test_broker.py examines it
beside the real one) and has switches for what a real one does on a bad day:

    latency_s           an acknowledgement takes so long
    pause / resume      nothing answers; sends and contacts wait, as with a frozen broker
    kill / revive       everything outstanding and everything new raises BrokerAway
    lose_acks           batches are stored, and their producer breaks before it hears of it
    forget_offsets      so many batches are acknowledged without an offset
    fail                batches to a partition this is true for fail, and only they
    refuse              a batch with a record this is true for is refused for its content

It judges a batch by the broker's own law: as a whole, by max.message.bytes, never in part.
"""

import asyncio
import functools
import os
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ParamSpec

from gateway.board import Board, Slot
from gateway.clock import Clock
from gateway.core.event import Record
from gateway.errors import BatchRefused, BrokerAway, PartitionFailed
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
        self._ends = Counter[tuple[str, int]]()  # the offset that is given next
        self._running = asyncio.Event()
        self._running.set()
        self._is_dead = False
        self._producer: asyncio.Future[None] | None = None  # done once it is discarded
        self.latency_s = 0.0
        self.lose_acks = 0  # so many batches are stored and not acknowledged
        self.forget_offsets = 0
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
        for place in [place for place in self._ends if place[0] == name]:
            del self._ends[place]

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

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> int:
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
            waiting: list[asyncio.Future[Any]] = [answer, producer]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise BrokerAway("discarded")
            return answer.result()
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

    async def _answer(self, name: str, partition: int, records: Sequence[Record]) -> int:
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
        first = self._ends[name, partition]
        self._ends[name, partition] += len(records)
        self._logs[name] += [(partition, record) for record in read(batch)]
        if self.lose_acks:
            self.lose_acks -= 1
            raise BrokerAway("the connection broke after the batch was stored")
        if self.forget_offsets:
            self.forget_offsets -= 1
            return -1
        return first


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
