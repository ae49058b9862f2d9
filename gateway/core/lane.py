"""One partition's queue and its one batch in flight; and a request's records on their way.

Decided here: what goes into the next batch, what a failed one leaves behind,
what a request is told whose time is up, and whether a lane takes more.  Not
decided here: sending (deliver.py).  Pure state; time is monotonic seconds and
comes in.

    deliver ─add()─▶ queue ─take()─▶ batch in flight ─acked()────▶ durable
                       ▲                  │          ─refused()──▶ halved, at last refused alone
                       └──── lost() ──────┘          ─failed()───▶ the same as lost, and a pause

The law: records leave in the order they came.  What a lost batch held goes back
in front, except records whose requests have been answered by then: they were
told `unknown`, and repeating is theirs.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, cast

from msgspec import Struct

from gateway.core import recordbatch
from gateway.core.event import Record, bytes_max
from gateway.core.receipt import Outcome

BATCH_HEADER_BYTES: Final = recordbatch.HEADER_BYTES
PAUSES_S: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_RECORDS_MAX: Final = 1_000_000


class Delivery:
    """One request's records, all of one key and so of one lane, until each has an outcome."""

    __slots__ = ("_on_settled", "_outcomes", "accepted_s", "is_settled", "lost", "open", "taken")

    def __init__(self, records: int, accepted_s: float, on_settled: Callable[[Sequence[Outcome]], object]) -> None:
        """Args: on_settled: called once, with the outcomes in the order of the records."""
        self.accepted_s = accepted_s
        self._on_settled = on_settled
        self._outcomes: list[Outcome | None] = [None] * records
        self.open = records  # how many have no outcome yet
        self.taken = 0  # records are taken in order: those below were on their way once
        self.lost = 0  # those below may be stored by a send nobody heard of again
        self.is_settled = False  # its request has been answered

    def settle(self, index: int, outcome: Outcome) -> None:
        """Say what became of one record; ignored once its time is up."""
        self.settle_all(range(index, index + 1), outcome)

    def settle_all(self, indexes: range, outcome: Outcome) -> None:
        """The same of several records at once."""
        if self.is_settled:
            return
        outcomes = self._outcomes
        if len(indexes) == self.open == len(outcomes):  # all, as nearly always
            outcomes[:] = [outcome] * self.open
            self.open = 0
        for index in indexes if self.open else ():
            if outcomes[index] is None:
                outcomes[index] = outcome
                self.open -= 1
        if self.open == 0:
            self.is_settled = True
            self._on_settled(cast("list[Outcome]", outcomes))

    def refuse(self, index: int) -> None:
        """Kafka takes this record in no batch; it has it all the same where an earlier send was lost."""
        self.settle(index, Outcome.UNKNOWN if index < self.lost else Outcome.REFUSED)

    def time_is_up(self) -> None:
        """Settle what is open: unknown where it was on its way, withdrawn where it never was."""
        for index, outcome in enumerate(self._outcomes):
            if outcome is None:
                self.settle(index, Outcome.UNKNOWN if index < self.taken else Outcome.WITHDRAWN)


class Run(Struct, frozen=True):
    """Records of one delivery that stand together, as nearly always all of them."""

    delivery: Delivery
    first: int  # its position in the delivery
    records: Sequence[Record]
    bytes_max: int  # no less than what they take in a batch

    @property
    def stop(self) -> int:
        """The position after its last."""
        return self.first + len(self.records)

    def split(self, records: int) -> "tuple[Run, Run]":
        """The first so many, and the rest; either may be empty."""
        head, rest = self.records[:records], self.records[records:]
        head_bytes = bytes_max(head)
        return Run(self.delivery, self.first, head, head_bytes), Run(self.delivery, self.first + len(head), rest, self.bytes_max - head_bytes)


class Lane:
    """One partition of one topic."""

    __slots__ = ("_queue", "_records_max", "batch", "batch_bytes_max", "closed_until_s", "failures", "held_bytes", "is_suspect", "partition", "sent_s", "topic")

    def __init__(self, topic: str, partition: int, batch_bytes_max: int) -> None:
        """Args: batch_bytes_max: no batch is larger; a record that cannot fit is refused."""
        self.topic = topic
        self.partition = partition
        self.batch_bytes_max = batch_bytes_max
        self.batch: list[Run] = []
        self.sent_s = 0.0
        self.held_bytes = 0
        self.is_suspect = False
        self.failures = 0  # in a row, of this partition alone
        self.closed_until_s = 0.0
        self._queue: deque[Run] = deque()
        self._records_max = _RECORDS_MAX

    @property
    def has_queue(self) -> bool:
        return bool(self._queue)

    def age_s(self, now_s: float) -> float:
        """How long the batch in flight has been on its way; 0 where there is none."""
        return now_s - self.sent_s if self.batch else 0.0

    def takes_more(self, now_s: float, stall_s: float) -> bool:
        """Whether it is worth queueing here now.

        No while the batch in flight is overdue: what is added would only wait.  After a batch
        was lost the lane is suspect, and carries one request at a time until one is durable.
        """
        if self.age_s(now_s) > stall_s or now_s < self.closed_until_s:
            return False
        return not (self.is_suspect and (self.batch or self._queue))

    def add(self, records: Sequence[Record], delivery: Delivery) -> int:
        """Queue a request's records, refusing those that no batch could hold; returns the bytes now held for it."""
        room, added_bytes = self.batch_bytes_max - BATCH_HEADER_BYTES, bytes_max(records)
        if added_bytes <= room:
            self._queue.append(Run(delivery, 0, records, added_bytes))
        else:
            added_bytes = sum([self._add_one(records[index : index + 1], index, delivery, room) for index in range(len(records))])
        self.held_bytes += added_bytes
        return added_bytes

    def _add_one(self, record: Sequence[Record], index: int, delivery: Delivery, room: int) -> int:
        size = bytes_max(record)
        if size > room:
            delivery.refuse(index)
            return 0
        self._queue.append(Run(delivery, index, record, size))
        return size

    def take(self, now_s: float) -> list[Record]:
        """The next batch, now in flight; empty where nothing waits.  Records nobody waits for are dropped."""
        assert not self.batch, (self.topic, self.partition)
        taken: list[Record] = []
        room, queue = self.batch_bytes_max - BATCH_HEADER_BYTES, self._queue
        while queue and len(taken) < self._records_max:
            run = queue.popleft()
            if run.delivery.is_settled:
                self.held_bytes -= run.bytes_max
                continue
            if run.bytes_max > room or len(taken) + len(run.records) > self._records_max:
                run, rest = run.split(self._fitting(run, room, self._records_max - len(taken)))
                queue.appendleft(rest)
                if not run.records:
                    if self._refuse_what_never_fits():
                        continue
                    break
            room -= run.bytes_max
            run.delivery.taken = max(run.delivery.taken, run.stop)
            taken += run.records
            self.batch.append(run)
        self.sent_s = now_s
        return taken

    def _refuse_what_never_fits(self) -> bool:
        """Whether the bound shrank while the first in the queue waited: then no batch will ever hold it."""
        record, rest = self._queue[0].split(1)
        if record.bytes_max <= self.batch_bytes_max - BATCH_HEADER_BYTES:
            return False
        self._queue.popleft()
        self.held_bytes -= record.bytes_max
        record.delivery.refuse(record.first)
        if rest.records:
            self._queue.appendleft(rest)
        return True

    @staticmethod
    def _fitting(run: Run, room: int, records_max: int) -> int:
        """How many of its records fit, from the front."""
        for index, record in enumerate(run.records[:records_max]):
            room -= bytes_max((record,))
            if room < 0:
                return index
        return min(len(run.records), records_max)

    def acked(self) -> tuple[int, int]:
        """Every in-sync copy has the batch: (records whose requests still waited, records that came too late)."""
        batch, self.batch = self.batch, []
        in_time = late = 0
        for run in batch:
            self.held_bytes -= run.bytes_max
            if run.delivery.is_settled:
                late += len(run.records)
            else:
                in_time += len(run.records)
                run.delivery.settle_all(range(run.first, run.stop), Outcome.DURABLE)
        self.is_suspect = False
        self.failures = 0
        self._records_max = min(self._records_max * 2, _RECORDS_MAX)
        return in_time, late

    def refused(self) -> bool:
        """The broker refuses the batch for good: halve it, or refuse its one record.  True for the latter."""
        records = sum([len(run.records) for run in self.batch])
        if records > 1:
            self._records_max = (records + 1) // 2
            self._put_back()
            return False
        for run in self.batch:
            self.held_bytes -= run.bytes_max
            run.delivery.refuse(run.first)
        self.batch = []
        return True

    def lost(self) -> None:
        """The batch failed or its producer is gone: whoever still waits goes back in front, in order."""
        self.is_suspect = True
        for run in self.batch:
            run.delivery.lost = max(run.delivery.lost, run.stop)
        self._put_back()

    def failed(self, now_s: float) -> None:
        """Lost, and by this partition's own fault: it pauses, the longer the more often in a row."""
        self.lost()
        self.closed_until_s = now_s + PAUSES_S[min(self.failures, len(PAUSES_S) - 1)]
        self.failures += 1

    def give_up(self) -> None:
        """The partition is gone: what waits for it is told so at once."""
        for run in self._queue:
            run.delivery.time_is_up()
        self.forget_settled()

    def forget_settled(self) -> None:
        """Drop queued records from the front that nobody waits for: the oldest stand there."""
        while self._queue and self._queue[0].delivery.is_settled:
            self.held_bytes -= self._queue.popleft().bytes_max

    def _put_back(self) -> None:
        batch, self.batch = self.batch, []
        for run in reversed(batch):
            if run.delivery.is_settled:
                self.held_bytes -= run.bytes_max
            else:
                self._queue.appendleft(run)
