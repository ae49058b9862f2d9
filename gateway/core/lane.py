"""One partition's queue and its one batch in flight; and a request's records on their way.

Decided here: what goes into the next batch and what into the spool, what a failed
batch leaves behind, what a request is told whose time is up, and whether a lane
takes more.  Not decided here: sending (deliver.py), writing (copies.py).  Pure
state; time is monotonic seconds and comes in.

    deliver ─add()─▶ queue ─take()─▶ batch in flight ─acked()────▶ durable
                       ▲                  │          ─refused()──▶ halved, at last refused alone
                       └──── lost() ──────┘          ─failed()───▶ the same as lost, and a pause

The law: records leave in the order they came.  What a lost batch held goes back
in front, except records whose requests have been answered by then: they were
told `unknown`, and repeating is theirs.

With a spool a lane flows or spools.

    flowing    what waits too long is copied as insurance: to_copy(), appending(), copied() ─▶ its request is told
               `spooled`.  It stays where it is, in memory; its acknowledgement makes the copy `done`.
    spooling   from spool_first() until flows().  replays() is the only sender.  Everything without a copy is copied,
               and what is on disk leaves memory, but for a batch still in flight.
    closing    spooling, and the batch of the replay in flight is all there is on disk: new records wait in memory
               for its acknowledgement, as long as a flowing lane's would before they are copied.

Order holds, because of batch and queue in this order always a first part is on disk, the
next on its way there (one append at a time: a second could succeed where the first fails),
and the rest is not; what nobody waits for and has no copy does not count.  A record that
has a copy, or may have, is never dropped: it is acknowledged or left to the replay.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final, cast

from msgspec import Struct

from gateway.core import recordbatch
from gateway.core.event import Record, bytes_max, replayed
from gateway.core.receipt import Outcome

BATCH_HEADER_BYTES: Final = recordbatch.HEADER_BYTES
PAUSES_S: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_RECORDS_MAX: Final = 1_000_000
_COPY_BYTES_MAX: Final = 1_048_576  # one append: who is first in a long queue need not wait until all of it is written


class Delivery:
    """One request's records, all of one key and so of one lane, until each has an outcome."""

    __slots__ = ("_on_settled", "_outcomes", "accepted_s", "copied", "first_offset", "is_settled", "last_offset", "last_sequence", "lost", "open", "taken")

    def __init__(self, records: int, accepted_s: float, on_settled: Callable[[Sequence[Outcome], "Delivery"], object]) -> None:
        """Args: on_settled: called once, with the outcomes in the order of the records, and this."""
        self.accepted_s = accepted_s
        self._on_settled = on_settled
        self._outcomes: list[Outcome | None] = [None] * records
        self.open = records  # how many have no outcome yet
        self.taken = 0  # records are taken in order: those below were on their way once, to Kafka or to the spool
        self.lost = 0  # those below may be stored by a send nobody heard of again
        self.copied = 0  # those below may be on the disk by a copy that was begun, whatever is said of it
        self.is_settled = False  # its request has been answered
        # Where they went: -1 while none is there, or Kafka did not say.
        self.first_offset = self.last_offset = self.last_sequence = -1

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
            self._on_settled(cast("list[Outcome]", outcomes), self)

    def stored(self, indexes: range, first_offset: int) -> None:
        """Kafka has these, the first at this offset; -1: it does not say at which."""
        if first_offset >= 0:
            if self.first_offset < 0:
                self.first_offset = first_offset  # the lowest: records leave in their order
            self.last_offset = first_offset + len(indexes) - 1
        self.settle_all(indexes, Outcome.DURABLE)

    def spooled(self, indexes: range, first_sequence: int) -> None:
        """The disk has these, the first under this sequence."""
        self.last_sequence = first_sequence + len(indexes) - 1  # the highest: they are copied in their order
        self.settle_all(indexes, Outcome.SPOOLED)

    def refuse(self, index: int) -> None:
        """Kafka takes this record in no batch; it is stored all the same where an earlier send was lost, or a copy begun."""
        self.settle(index, Outcome.UNKNOWN if index < max(self.lost, self.copied) else Outcome.REFUSED)

    def time_is_up(self) -> None:
        """Settle what is open: unknown where it was on its way, withdrawn where it never was."""
        for index, outcome in enumerate(self._outcomes):
            if outcome is None:
                self.settle(index, Outcome.UNKNOWN if index < self.taken else Outcome.WITHDRAWN)


class Copy:
    """One append to the spool: the records of some runs, on their way to the disk or there."""

    __slots__ = ("began_s", "bytes_max", "first", "gone", "runs")

    def __init__(self, runs: "list[Run]", began_s: float) -> None:
        self.runs = runs
        self.bytes_max = sum([run.bytes_max for run in runs])
        self.began_s = began_s
        self.first: int | None = None  # the sequence of its first record, once on disk
        self.gone: list[range] = []  # positions that have become needless before they were on disk


class Run(Struct):
    """Records of one delivery that stand together, as nearly always all of them."""

    delivery: Delivery
    first: int  # its position in the delivery
    records: Sequence[Record]
    bytes_max: int  # no less than what they take in a batch
    copy: Copy | None = None
    copy_first: int = 0  # its position in the copy

    @property
    def stop(self) -> int:
        """The position after its last."""
        return self.first + len(self.records)

    @property
    def is_on_disk(self) -> bool:
        return self.copy is not None and self.copy.first is not None

    @property
    def is_nobodys(self) -> bool:
        """Its request has been answered, and no copy promises that it will be delivered."""
        return self.delivery.is_settled and self.copy is None

    def split(self, records: int) -> "tuple[Run, Run]":
        """The first so many, and the rest; either may be empty."""
        head, rest = self.records[:records], self.records[records:]
        head_bytes, at = bytes_max(head), self.first + len(head)
        return (
            Run(self.delivery, self.first, head, head_bytes, self.copy, self.copy_first),
            Run(self.delivery, at, rest, self.bytes_max - head_bytes, self.copy, self.copy_first + len(head)),
        )


class Lane:
    """One partition of one topic."""

    __slots__ = (
        "_queue",
        "_records_max",
        "batch",
        "batch_bytes_max",
        "closed_until_s",
        "copying",
        "done",
        "failures",
        "held_bytes",
        "is_closing",
        "is_gone",
        "is_spooling",
        "is_suspect",
        "partition",
        "rejected",
        "replay",
        "sent_s",
        "topic",
    )

    def __init__(self, topic: str, partition: int, batch_bytes_max: int, *, is_spooling: bool = False) -> None:
        """Args:
        batch_bytes_max: no batch is larger; a record that cannot fit is refused.
        is_spooling: the spool has records of an earlier life, which go first.
        """
        self.topic = topic
        self.partition = partition
        self.batch_bytes_max = batch_bytes_max
        self.batch: list[Run] = []
        self.sent_s = 0.0
        self.held_bytes = 0
        self.is_suspect = False
        self.failures = 0  # in a row, of this partition alone
        self.closed_until_s = 0.0
        self.is_spooling = is_spooling
        self.is_closing = False
        self.is_gone = False  # its partition is there no more
        self.copying: Copy | None = None  # the one append on its way
        self.replay: list[tuple[int, Record]] = []  # the batch in flight from the spool, by sequence
        # For the spool, until whoever owns it takes them from here: what need not be replayed, and what Kafka never takes.
        self.done: list[range] = []
        self.rejected: list[tuple[int, Record]] = []
        self._queue: deque[Run] = deque()
        self._records_max = _RECORDS_MAX

    @property
    def has_queue(self) -> bool:
        return bool(self._queue)

    def age_s(self, now_s: float) -> float:
        """How long the batch in flight has been on its way; 0 where there is none."""
        return now_s - self.sent_s if self.batch or self.replay else 0.0

    def takes_more(self, now_s: float, stall_s: float) -> bool:
        """Whether it is worth queueing here now, spool or not.

        No while the batch in flight is overdue: what is added would only wait.  After a batch
        was lost the lane is suspect, and carries one request at a time until one is durable.
        """
        if self.age_s(now_s) > stall_s or now_s < self.closed_until_s:
            return False
        if self.is_spooling:
            return self.is_closing
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

    # From memory

    def take(self, now_s: float) -> list[Record]:
        """The next batch, now in flight; empty where nothing waits.  Records nobody waits for are dropped."""
        assert not self.batch, (self.topic, self.partition)
        assert not self.is_spooling, (self.topic, self.partition)
        taken: list[Record] = []
        room, queue = self.batch_bytes_max - BATCH_HEADER_BYTES, self._queue
        while queue and len(taken) < self._records_max:
            run = queue.popleft()
            if run.delivery.is_settled and run.copy is None:  # is_nobodys, without a call
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
            # What was sent before and lost may be stored twice, and says so.
            taken += run.records if run.first >= run.delivery.lost else [replayed(record) for record in run.records]
            self.batch.append(run)
        self.sent_s = now_s
        return taken

    def _refuse_what_never_fits(self) -> bool:
        """Whether the bound shrank while the first in the queue waited: then no batch will ever hold it."""
        record, rest = self._queue[0].split(1)
        if record.bytes_max <= self.batch_bytes_max - BATCH_HEADER_BYTES:
            return False
        self._queue.popleft()
        self._refuse(record)
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

    def _refuse(self, run: Run) -> None:
        """Kafka never takes this one record.  Who was told `spooled` was promised that it does not vanish."""
        self.held_bytes -= run.bytes_max
        run.delivery.refuse(run.first)
        if run.copy is not None and run.copy.first is not None:
            self.rejected.append((run.copy.first + run.copy_first, run.records[0]))
        else:
            self._need_no_copy(run)

    # What became of the batch in flight

    def acked(self, first_offset: int) -> tuple[int, int]:
        """Every in-sync copy has the batch: (records whose requests still waited, records that came too late).

        Args: first_offset: of the batch; -1: not known.
        """
        batch, self.batch = self.batch, []
        in_time = late = 0
        for run in batch:
            self.held_bytes -= run.bytes_max
            if run.copy is not None:
                self._need_no_copy(run)
            if run.delivery.is_settled:
                late += len(run.records)
            else:
                run.delivery.stored(range(run.first, run.stop), first_offset + in_time + late if first_offset >= 0 else -1)
                in_time += len(run.records)
        if self.replay:
            self.done += ranges([sequence for sequence, _ in self.replay])
            self.replay = []
        self.is_suspect = False
        self.failures = 0
        self._records_max = min(self._records_max * 2, _RECORDS_MAX)
        return in_time, late

    def _need_no_copy(self, run: Run) -> None:
        copy, at = run.copy, range(run.copy_first, run.copy_first + len(run.records))
        if copy is None:
            return
        if copy.first is None:
            copy.gone.append(at)  # it cannot be called back: until it is on disk nothing can be said of it
        else:
            self.done.append(range(copy.first + at.start, copy.first + at.stop))

    def refused(self) -> bool:
        """The broker refuses the batch for good: halve it, or refuse its one record.  True for the latter."""
        records = len(self.replay) or sum([len(run.records) for run in self.batch])
        if records > 1:
            self._records_max = (records + 1) // 2
            self._put_back()
            return False
        for run in self.batch:
            self._refuse(run)
        self.rejected += self.replay
        self.batch, self.replay = [], []
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

    def _put_back(self) -> None:
        batch, self.batch = self.batch, []
        self.replay, self.is_closing = [], False
        for run in reversed(batch):
            if self._is_let_go(run):
                self.held_bytes -= run.bytes_max
            else:
                self._queue.appendleft(run)

    def _is_let_go(self, run: Run) -> bool:
        """Memory need not keep it: nobody waits for it, or the replay has it."""
        return run.is_nobodys or (self.is_spooling and run.is_on_disk)

    def give_up(self) -> None:
        """The partition is gone: what waits for it is told so at once, and nothing more is sent."""
        self.is_gone = True
        for run in self._queue:
            run.delivery.time_is_up()
        self.forget_settled()

    def forget_settled(self) -> None:
        """Drop queued records from the front that need not be kept: the oldest stand there."""
        while self._queue and self._is_let_go(self._queue[0]):
            self.held_bytes -= self._queue.popleft().bytes_max

    # To the spool

    def to_copy(self, due_s: float) -> list[Run]:
        """What is to be appended to the spool now, in order; empty while the append before is on its way.

        Args: due_s: where the lane flows or closes, what was accepted by then has waited too long.
        """
        if self.copying is not None:
            return []
        runs: list[Run] = []
        room = _COPY_BYTES_MAX
        for run in self._without_copy():
            if (not self.is_spooling or self.is_closing) and run.delivery.accepted_s > due_s:
                break
            room -= run.bytes_max
            if room < 0 and runs:
                break
            runs.append(run)
        return runs

    def _without_copy(self) -> Iterator[Run]:
        # What nobody waits for was told that it is not kept, or perhaps not: then it must not be, or need not.
        return (run for run in chain(self.batch, self._queue) if run.copy is None and not run.delivery.is_settled)

    def appending(self, runs: list[Run], now_s: float) -> Copy:
        """The spool has these and will say whether they are on disk.  Until then their requests cannot be told that nothing was kept."""
        assert self.copying is None, (self.topic, self.partition)
        self.copying = copy = Copy(runs, now_s)
        self.is_closing = False  # more than a batch will be there
        at = 0
        for run in runs:
            run.copy, run.copy_first = copy, at
            run.delivery.taken = max(run.delivery.taken, run.stop)
            run.delivery.copied = max(run.delivery.copied, run.stop)
            at += len(run.records)
        return copy

    def copied(self, copy: Copy, sequences: range) -> None:
        """They are on disk."""
        runs, copy.runs = copy.runs, []  # they know each other: a circle that would wait for the collector
        if copy is not self.copying:
            self.done.append(sequences)  # whoever waited was told `unknown` long ago
            return
        self.copying = None
        copy.first = sequences.start
        for run in runs:
            run.delivery.spooled(range(run.first, run.stop), copy.first + run.copy_first)
        self.done += [range(copy.first + gone.start, copy.first + gone.stop) for gone in copy.gone]
        self.forget_settled()

    def not_copied(self, copy: Copy) -> None:
        """The spool could not, or does not say: memory alone has them, as if there were no spool."""
        copy.runs = []
        if copy is not self.copying:
            return
        self.copying = None
        for run in chain(self.batch, self._queue):
            if run.copy is copy:
                run.copy = None
        self.forget_settled()

    def spool_first(self) -> None:
        """From now on the replay is the only sender."""
        self.is_spooling, self.is_closing = True, False
        self.forget_settled()

    # From the spool

    def replays(self, entries: Sequence[tuple[int, Record]], left: int, now_s: float) -> list[Record]:
        """The next batch from the spool, now in flight: as many of these as fit, at least one.

        Args: left: how many of this lane's records the spool has, these included.
        """
        assert self.is_spooling, (self.topic, self.partition)
        assert not self.batch, (self.topic, self.partition)
        assert not self.replay, (self.topic, self.partition)
        records: list[Record] = []
        room = self.batch_bytes_max - BATCH_HEADER_BYTES
        for _, record in entries[: self._records_max]:
            record = replayed(record)  # noqa: PLW2901 - the other has no part in this
            room -= bytes_max((record,))
            if room < 0 and records:
                break
            # The first one fits with its mark too: alone in a batch it takes fewer bytes than bytes_max says.
            records.append(record)
        self.replay = list(entries[: len(records)])
        is_last_append_small = self.copying is None or self.copying.bytes_max <= self.batch_bytes_max
        self.is_closing = left == len(records) and is_last_append_small
        self.sent_s = now_s
        return records

    def flows(self, left: int) -> bool:
        """Whether memory is sent from, perhaps from now on: the spool has nothing of this lane and gets nothing.

        Args: left: as in `replays`.
        """
        if self.is_spooling and not left and self.copying is None and not self.batch and not self.replay:
            self.is_spooling = self.is_closing = False
        return not self.is_spooling


def ranges(sequences: Sequence[int]) -> list[range]:
    """The same numbers, which grow, as few ranges."""
    found: list[range] = []
    for sequence in sequences:
        if found and found[-1].stop == sequence:
            found[-1] = range(found[-1].start, sequence + 1)
        else:
            found.append(range(sequence, sequence + 1))
    return found
