"""Lanes ⇄ spool: what is appended when, and what the disk's bad days mean for delivery.

Decided here: whether the spool is worth asking, and when an append that says nothing is
given up.  Not decided here: which records are copied and what follows (core/lane.py), the
disk (spool/disk_spool.py).  Nothing here waits: an append answers by a callback.

When the disk fails:

    full, or a write was lost
      → no append of that kind for a second; its records have what they would have without a spool: Kafka, or their deadline
    an append says nothing for stall_ms
      → the spool takes nothing, for any kind, until it does
    nor for timeout_ms
      → its requests have been told `unknown`; their records are forgotten, and settled should they be on disk one day
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from gateway import logs
from gateway.board import Slot
from gateway.clock import Clock
from gateway.config import Deliver as Settings
from gateway.core.event import Record
from gateway.core.lane import Copy, Lane
from gateway.errors import SpoolError
from gateway.spool.store import Spool

_ASK_AGAIN_S: Final = 1.0
_READ_BYTES: Final = 16_777_216  # of all lanes together: a backlog is read in as much memory, however long it is
_READ_BYTES_MIN: Final = 16_384
# Of one batch: some milliseconds' work for the disk's thread and then for the loop, which live requests wait for.
_READ_BYTES_MAX: Final = 65_536


class Copies:
    """One worker's lanes before its spool."""

    def __init__(self, settings: Settings, spool: Spool, clock: Clock, slot: Slot, topics: Iterable[str], on_copied: Callable[[Lane], object]) -> None:
        """Args: on_copied: called when an append has ended, well or not."""
        self._spool = spool
        self._monotonic_s = clock.monotonic_s
        self._hedge_s = settings.hedge_ms / 1000
        self._stall_s = settings.stall_ms / 1000
        self._timeout_s = settings.timeout_ms / 1000
        self._on_copied = on_copied
        self._closed_until_s = dict.fromkeys(topics, 0.0)
        self._is_told: set[str] = set()  # in the log: one line a bad day, not one a second
        self._is_slow = False
        self._given_up = 0  # appends that may still answer
        self.failure: BaseException | None = None  # a bug, of which the worker dies loudly
        self._replayed = slot.counter("sluicegate_spool_replayed_total")
        self._rejected = slot.counter("sluicegate_spool_rejected_total")

    def takes(self, topic: str) -> bool:
        """Whether an append for this topic is worth trying."""
        return self._spool.takes(topic) and not self._is_slow and self._monotonic_s() >= self._closed_until_s[topic]

    def look(self, lanes: list[Lane]) -> None:
        """Copy what has waited too long, and give up appends that say nothing; to be called every few ms."""
        now_s = self._monotonic_s()
        for lane in lanes:
            copy = lane.copying
            if copy is not None and now_s - copy.began_s >= self._timeout_s:
                logs.error("the spool says nothing of an append", topic=lane.topic, partition=lane.partition)
                lane.not_copied(copy)
                self._given_up += 1
        oldest_s = min([lane.copying.began_s for lane in lanes if lane.copying is not None], default=now_s)
        self._is_slow = self._given_up > 0 or now_s - oldest_s > self._stall_s
        for lane in lanes:
            self.copy(lane)

    def copy(self, lane: Lane) -> None:
        """Append what is to be appended now, if anything is and the spool takes it."""
        now_s = self._monotonic_s()
        # Behind a batch that is late nobody is acknowledged in time: why wait as long as it has?
        runs = lane.to_copy(now_s if lane.age_s(now_s) >= self._hedge_s else now_s - self._hedge_s)
        if not runs or not self.takes(lane.topic):
            return
        try:
            future = self._spool.append(lane.topic, lane.partition, [record for run in runs for record in run.records])
        except SpoolError as exc:
            self._is_refused(lane, exc)
            return
        future.add_done_callback(partial(self._ended, lane, lane.appending(runs, now_s)))

    def _ended(self, lane: Lane, copy: Copy, future: "asyncio.Future[range]") -> None:
        if copy is not lane.copying:
            self._given_up -= 1
        if future.cancelled():
            lane.not_copied(copy)
        elif (exc := future.exception()) is None:
            lane.copied(copy, future.result())
            self._is_told.discard(lane.topic)
        elif isinstance(exc, SpoolError):
            lane.not_copied(copy)
            self._is_refused(lane, exc)
        else:
            lane.not_copied(copy)
            self.failure = exc
        self.hand_over(lane)
        if lane.is_spooling:
            self.copy(lane)  # what came meanwhile
        self._on_copied(lane)

    def _is_refused(self, lane: Lane, exc: SpoolError) -> None:
        self._closed_until_s[lane.topic] = self._monotonic_s() + _ASK_AGAIN_S
        if lane.topic not in self._is_told:
            self._is_told.add(lane.topic)
            logs.warning("the spool takes nothing", topic=lane.topic, error=type(exc).__name__, reason=str(exc))

    @property
    def spool_id(self) -> int:
        """Of the spool that what is copied from now on goes to."""
        return self._spool.spool_id

    def left(self, lane: Lane) -> int:
        """How many records of this lane the spool has to replay."""
        return self._spool.waiting().get((lane.topic, lane.partition), 0)

    def strangers(self) -> set[str]:
        """Topics that records wait for and the settings do not name: they stay until those do again."""
        return {topic for topic, _ in self._spool.waiting()} - self._closed_until_s.keys()

    async def read(self, lane: Lane, lanes: int) -> list[tuple[int, Record]]:
        """The oldest of them; empty where there are none, or none that can be read now.  Args: lanes: how many share the memory for this."""
        return await self._spool.read(lane.topic, lane.partition, min(lane.batch_bytes_max, _READ_BYTES_MAX, max(_READ_BYTES // lanes, _READ_BYTES_MIN)))

    def replayed(self, records: int) -> None:
        """Kafka has so many more from the spool."""
        self._replayed.add(records)

    def hand_over(self, lane: Lane) -> None:
        """Tell the spool what need not be replayed, and what never can."""
        if lane.done:
            done, lane.done = lane.done, []
            for sequences in done:
                self._spool.settle(sequences)
        if lane.rejected:
            rejected, lane.rejected = lane.rejected, []
            self._rejected.add(len(rejected))
            for sequence, record in rejected:
                logs.error("kafka refuses a record that was accepted", topic=lane.topic, event_id=record.event_id, sequence=sequence)
                self._spool.reject(lane.topic, lane.partition, sequence, record)
