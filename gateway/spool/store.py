"""What the path asks of a spool: keep these on disk until Kafka has them, and give them back in order.

Two sit one exam (tests/contracts/test_spool.py): disk_spool.py on a disk, and tests/memory_spool.py.

A sequence is a number of one record in one worker's directory: it grows, is never given twice, and outlives the
process.  Within a partition the order of appends is the order of sequences; records of two partitions that are
appended at once may stand in either order.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from gateway.core.event import Record

Reason = Literal["ok", "full", "failed", "closed"]
"""Why nothing can be appended: its bytes are used up, the disk does not take them, or it is not open (yet, or any more).  "ok" where it can."""


class Spool(Protocol):
    """One worker's spool."""

    on_found: Callable[[], object]
    """Called when records of an earlier life have joined after `open` has returned."""

    async def open(self) -> None:
        """Find what an earlier life left.  A disk that fails, or another process that has it, is no error, but `reason` "failed" until that is over.

        Raises:
            ConfigError: its key is missing.
        """

    def append(self, topic: str, partition: int, records: Sequence[Record], *, is_moved: bool = False) -> "asyncio.Future[range]":
        """Their sequences, once they are durable; all that comes meanwhile shares the next sync.

        The future fails with SpoolFailed where the disk fails: then they may be on it all the same.  Nobody may cancel it.

        Args: records: at least one; is_moved: they wait in it already and are settled there once they are here, so there is always room for them.

        Raises:
            SpoolFull: no bytes are left for this topic; nothing was written.
            SpoolFailed: the disk failed before; nothing was written.
        """

    def settle(self, sequences: range) -> None:
        """They are in Kafka, or nobody waits for them: do not replay them.  Forgotten when the process is killed."""

    def reject(self, topic: str, partition: int, sequence: int, record: Record) -> None:
        """Kafka refuses this one for good: it is not read again, and kept apart for a person; where there is no room for that, it stays where it is."""

    async def read(self, topic: str, partition: int, bytes_max: int) -> list[tuple[int, Record]]:
        """The oldest that wait in a partition, in order; the same again until they are settled.

        Args: bytes_max: no more of a batch than this, but at least one record.  Empty where none waits, or none can be read just now.
        """

    def waiting(self) -> Mapping[tuple[str, int], int]:
        """Records to be replayed, by topic and partition; none that was rejected, or cannot be read."""

    async def adopt(self, directory: Path) -> bool:
        """Take over what a worker that is gone has left; its records join the replay.  False: someone else has it, or the disk fails.

        Raises:
            ConfigError: its key is missing.
        """

    async def close(self) -> None:
        """Make durable what was appended, and let others in.

        With a disk that hangs this does too; whoever gives it up leaves what was appended unanswered, and the directory locked.
        """

    def failed(self) -> BaseException | None:
        """What ended a background task that must not fail; the worker dies of it, loudly."""

    def takes(self, topic: str) -> bool:
        """Whether a record of this topic may be appended now; SpoolFull may still be the answer to many at once."""

    @property
    def is_open(self) -> bool:
        """Whether a record of any topic may be: `reason` is "ok"."""

    @property
    def reason(self) -> Reason:
        """Why not, of topics that nothing is reserved for."""

    @property
    def size_bytes(self) -> int:
        """What it takes of the disk for records that wait: what is kept apart for a person has bounds of its own, for it never drains."""

    @property
    def waiting_bytes(self) -> int:
        """Of these, about what records take that wait.  Less, where few keep a segment whose others are in Kafka: it goes as a whole."""

    @property
    def records_aside(self) -> int:
        """Records that Kafka refuses and for which there is no room apart, or that cannot be read: they stay, and are not replayed by this process."""

    @property
    def oldest_s(self) -> float:
        """How long ago the oldest that waits was received; 0 where none waits."""

    @property
    def frames_synced(self) -> int:
        """How many commits made durable, since this process began; a frame is one partition's share of a commit."""

    @property
    def frames_failed(self) -> int:
        """How many were written and not synced: their requests were not answered from it."""

    @property
    def frames_set_aside(self) -> int:
        """How many were found that cannot be read; those of before this process began among them, again at each start."""

    @property
    def segments_damaged(self) -> int:
        """In how many files something was found that cannot be read, when it was opened or adopted; those kept for a person stay, and are found again."""

    @property
    def rejected_bytes(self) -> int:
        """What is kept apart of records that Kafka refused for good; what lay there when it was opened or adopted among it."""

    @property
    def watermark(self) -> int:
        """Every sequence of its own directory below this one is settled."""

    @property
    def spool_id(self) -> int:
        """Of its own directory: with a sequence it names one record for ever; 0 until it is open.  See ids.py."""

    async def give_up_ids(self) -> None:
        """Say nothing more of any sequence given until now, and go by another id: what was at some of them has moved.

        Raises:
            SpoolFailed: the disk does not take that; nothing may be moved.
        """

    def watermarks(self) -> Mapping[int, int]:
        """By spool id: below it every record that was answered is in Kafka, or was refused by it for good and is kept apart.

        Its own first, then those of directories it has adopted.  None of one whose records cannot all be accounted for.
        """
