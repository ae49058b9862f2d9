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
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, cast

from gateway.core import recordbatch
from gateway.core.event import Record
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
        self.settle_all((index,), outcome)

    def settle_all(self, indexes: Iterable[int], outcome: Outcome) -> None:
        """The same of several records at once."""
        if self.is_settled:
            return
        outcomes = self._outcomes
        for index in indexes:
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


Item = tuple[Record, Delivery, int, int]
"""A record, its delivery, its position there, and no less than its bytes in a batch."""


class Lane:
    """One partition of one topic."""

    __slots__ = ("_queue", "_records_max", "batch", "batch_bytes_max", "closed_until_s", "failures", "held_bytes", "is_suspect", "partition", "sent_s", "topic")

    def __init__(self, topic: str, partition: int, batch_bytes_max: int) -> None:
        """Args: batch_bytes_max: no batch is larger; a record that cannot fit is refused."""
        self.topic = topic
        self.partition = partition
        self.batch_bytes_max = batch_bytes_max
        self.batch: list[Item] = []
        self.sent_s = 0.0
        self.held_bytes = 0
        self.is_suspect = False
        self.failures = 0  # in a row, of this partition alone
        self.closed_until_s = 0.0
        self._queue: deque[Item] = deque()
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

    def add(self, records: Iterable[Record], delivery: Delivery) -> int:
        """Queue a request's records, refusing those that no batch could hold; returns the bytes now held for it."""
        room = self.batch_bytes_max - BATCH_HEADER_BYTES
        queue = self._queue
        added_bytes = 0
        for index, record in enumerate(records):
            size = record.bytes_max
            if size > room:
                delivery.refuse(index)
            else:
                added_bytes += size
                queue.append((record, delivery, index, size))
        self.held_bytes += added_bytes
        return added_bytes

    def take(self, now_s: float) -> list[Item]:
        """The next batch, now in flight; empty where nothing waits.  Records nobody waits for are dropped."""
        assert not self.batch, (self.topic, self.partition)
        room = self.batch_bytes_max - BATCH_HEADER_BYTES
        batch = self.batch
        queue = self._queue
        while queue and len(batch) < self._records_max:
            item = queue[0]
            _, delivery, index, size = item
            if delivery.is_settled:
                self.held_bytes -= size
            elif size + BATCH_HEADER_BYTES > self.batch_bytes_max:
                # The bound shrank while it waited: no batch will ever hold it.
                self.held_bytes -= size
                delivery.refuse(index)
            elif size > room:
                break
            else:
                room -= size
                if index >= delivery.taken:
                    delivery.taken = index + 1
                batch.append(item)
            queue.popleft()
        self.sent_s = now_s
        return batch

    def acked(self) -> tuple[int, int]:
        """Every in-sync copy has the batch: (records whose requests still waited, records that came too late)."""
        batch, self.batch = self.batch, []
        self.held_bytes -= sum([item[3] for item in batch])
        late = 0
        for delivery, items in groupby(batch, key=itemgetter(1)):
            indexes = [item[2] for item in items]
            late += len(indexes) * delivery.is_settled
            delivery.settle_all(indexes, Outcome.DURABLE)
        self.is_suspect = False
        self.failures = 0
        self._records_max = min(self._records_max * 2, _RECORDS_MAX)
        return len(batch) - late, late

    def refused(self) -> bool:
        """The broker refuses the batch for good: halve it, or refuse its one record.  True for the latter."""
        if len(self.batch) > 1:
            self._records_max = (len(self.batch) + 1) // 2
            self._put_back()
            return False
        for _, delivery, index, size in self.batch:
            self.held_bytes -= size
            delivery.refuse(index)
        self.batch = []
        return True

    def lost(self) -> None:
        """The batch failed or its producer is gone: whoever still waits goes back in front, in order."""
        self.is_suspect = True
        for _, delivery, index, _ in self.batch:
            delivery.lost = max(delivery.lost, index + 1)
        self._put_back()

    def failed(self, now_s: float) -> None:
        """Lost, and by this partition's own fault: it pauses, the longer the more often in a row."""
        self.lost()
        self.closed_until_s = now_s + PAUSES_S[min(self.failures, len(PAUSES_S) - 1)]
        self.failures += 1

    def give_up(self) -> None:
        """The partition is gone: what waits for it is told so at once."""
        for _, delivery, _, _ in self._queue:
            delivery.time_is_up()
        self.forget_settled()

    def forget_settled(self) -> None:
        """Drop queued records from the front that nobody waits for: the oldest stand there."""
        while self._queue and self._queue[0][1].is_settled:
            self.held_bytes -= self._queue.popleft()[3]

    def _put_back(self) -> None:
        batch, self.batch = self.batch, []
        for item in reversed(batch):
            if item[1].is_settled:
                self.held_bytes -= item[3]
            else:
                self._queue.appendleft(item)
