"""What delivery asks of the spool: one worker's records on this machine's disk.

Two of these sit one exam (tests/contracts/test_spool_store.py): the disk's own, and tests/fakes.py
MemorySpool.

A record has a sequence from the moment it is on disk: numbers that grow in the order of the appends,
over all partitions, and are never used twice.  It is waiting until it is settled or rejected.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.core.event import Record


class Spool(Protocol):
    """Everything but `read` returns at once; what touches the disk happens elsewhere."""

    @property
    def is_open(self) -> bool:
        """Whether an append may succeed now."""

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> "asyncio.Future[range]":
        """Their sequences, once they would survive the power going off.

        Raises errors.SpoolFull, here or by the future, or errors.SpoolFailed by it.  What raises here has left
        nothing; what fails by the future may be on disk all the same.  Nobody may cancel the future.
        """

    def settle(self, sequences: range) -> None:
        """Kafka has these, or nobody was promised them: they need not be replayed.  Again is harmless."""

    def reject(self, topic: str, partition: int, sequence: int, record: Record) -> None:
        """Kafka refuses this one for good: it is kept apart, and not read again; where there is no room for that, it stays and is skipped."""

    async def read(self, topic: str, partition: int, bytes_max: int) -> list[tuple[int, Record]]:
        """The oldest that wait for this partition, in order, of so many bytes, but one at least; empty where none waits.

        Raises errors.SpoolError: they cannot be read now.
        """

    def waiting(self) -> Mapping[tuple[str, int], int]:
        """How many records wait, by topic and partition; none that was rejected."""
