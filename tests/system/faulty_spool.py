"""The model's disk side: directories whose records are replayed, and what shares an fsync; and the switches of all its bugs.

A part of faulty_delivery.py, which says what it is a model of.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from tests.system.virtual import SEGMENT_RECORDS, Directory, Entry, Frame, Site

BATCH_RECORDS: Final = 3


class Bug(StrEnum):
    """One switch each."""

    ACK_BEFORE_PRODUCE = "202 kafka as soon as it is queued"
    ACK_BEFORE_FSYNC = "202 spool as soon as it is written"
    FSYNC_RETRIED = "a failed fsync is tried again, and believed"
    FAILED_COPY_DENIED = "whose fsync failed is told that nothing happened, though a recovery may find it"
    UNLINKED_EARLY = "a segment goes when its records are sent, not acknowledged"
    CUT_TOO_FAR = "recovery cuts a good frame with the torn one"
    SPOOL_OVERTAKEN = "new events of a spooled partition go straight to Kafka"
    LATE_ACK_OF_ANOTHER = "a given-up batch's late ack is taken for the one in flight now"
    LATE_ACK_CANCELS_ALL = "an ack cancels the copies of what is queued behind, too"
    DRAIN_FORGETS = "a drain answers for the batch that fills behind the one in flight, and forgets it"
    ADOPTION_RACE = "a living worker's spool is adopted, replayed and unlinked"
    SEQUENCES_REUSED = "after a recovery sequences begin again"
    REFUSED_AND_STORED = "what is told 'overloaded' is delivered all the same"
    REPLAY_ALTERED = "a replay loses a field of the value"
    REPLAY_UNMARKED = "a replay comes without its header"
    RESENT_FROM_MEMORY = "a failed batch is sent again from memory"
    REPEAT_BY_SEQ = "a correction with a known seq is dropped as a repeat"
    FIRST_SPEAKS_FOR_ALL = "a request is accepted with the first of its samples"
    REJECTED_FORGOTTEN = "what Kafka refuses after its 202 is thrown away"
    HONEST_UNKNOWN = "no bug: now and then 'unknown', and nothing is stored"


class Source:
    """A directory whose records are replayed: the worker's own as it grows, an adopted one as it was found."""

    def __init__(self, directory: Directory, *, is_own: bool) -> None:
        self.directory = directory
        self.is_own = is_own
        self._found = dict[int, Entry]() if is_own else dict(directory.waiting())

    def next(self, partition: int) -> list[tuple[int, Entry]]:
        pairs = self.directory.waiting(partition) if self.is_own else ((s, e) for s, e in self._found.items() if e.partition == partition)
        return [pair for _, pair in zip(range(BATCH_RECORDS), pairs, strict=False)]

    def settle(self, sequences: set[int]) -> None:
        if self.is_own:
            self.directory.settle(sequences)
            return
        for sequence in sequences:
            self._found.pop(sequence, None)
        if not self._found:
            self.directory.segments = [[]]  # unlinked

    @property
    def is_done(self) -> bool:
        return not self.is_own and not self._found


class Spool:
    """One worker's: what is appended during one fsync shares the next."""

    def __init__(self, site: Site, directory: Directory, bug: Bug | None) -> None:
        self._site, self._bug = site, bug
        self.directory = directory
        self.is_open = True
        self._pending: list[tuple[int, Entry, Callable[[bool], object]]] = []
        self._syncing: list[tuple[int, Entry, Callable[[bool], object]]] = []

    def append(self, entry: Entry, done: Callable[[bool], object]) -> int:
        """Returns its sequence; `done` says whether it is synced."""
        sequence = self.directory.next_sequence
        self.directory.next_sequence += 1
        self._pending.append((sequence, entry, done))
        if not self._syncing:
            self._site.world.after(0, 0, self._write)
        return sequence

    def unsynced(self, partition: int | None = None) -> bool:
        return any(partition in (None, entry.partition) for _, entry, _ in self._pending + self._syncing)

    def _write(self) -> None:
        if self._syncing or not self._pending or self.directory.owner is not self:
            return
        self._syncing, self._pending = self._pending, []
        if self._site.is_disk_full:
            self._site.world.after(1, 1, lambda: self._finish(None, is_synced=False))
            return
        segments = self.directory.segments
        if sum(len(frame.entries) for frame in segments[-1]) >= SEGMENT_RECORDS:
            segments.append([])
        frame = Frame([(sequence, entry) for sequence, entry, _ in self._syncing])
        segments[-1].append(frame)
        self._site.world.after(1, 4, lambda: self._synced(frame))

    def _synced(self, frame: Frame) -> None:
        if self.directory.owner is not self:
            return
        if not self._site.is_disk_failing:
            frame.state = "synced"
            self._finish(frame, is_synced=True)
        elif self._bug is Bug.FSYNC_RETRIED:
            frame.state = "unsynced"
            self._finish(frame, is_synced=True)
        else:
            frame.state = "unsynced"
            self._finish(frame, is_synced=False)

    def _finish(self, frame: Frame | None, *, is_synced: bool) -> None:
        if self.directory.owner is not self:
            return
        over, self._syncing = self._syncing, []
        if not is_synced:
            self.is_open = False
            self.directory.settled |= {sequence for sequence, _, _ in over}
            if frame is not None:
                self.directory.segments.append([])  # abandoned for writing
            self._site.world.after(30, 30, self._probe)
        for _, _, done in over:
            done(is_synced)
        if self._pending:
            self._write()

    def _probe(self) -> None:
        self.is_open = not (self._site.is_disk_full or self._site.is_disk_failing)
        if not self.is_open:
            self._site.world.after(30, 30, self._probe)
