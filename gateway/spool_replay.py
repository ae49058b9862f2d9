"""A spool read back: a lane's oldest records, batch by batch, as Kafka is to have them.

Decided here: what is read at once, and that a frame which cannot be read blocks nobody: it is put aside, stays in its
segment, and the next start looks at it once more.  Memory is that of one batch, however long the backlog.
"""

from collections.abc import Sequence
from functools import partial
from itertools import compress, groupby

from gateway.core.backlog import Lane, Spot
from gateway.core.event import Record, bytes_max
from gateway.disk import Disk
from gateway.segments import Opened, held_of
from gateway.spool_books import Books


class Replay:
    """One spool's."""

    def __init__(self, disk: Disk, books: Books) -> None:
        self._disk = disk
        self._books = books

    async def read(self, lane: Lane, batch_bytes_max: int) -> list[tuple[int, Record]]:
        """As gateway.spool_store.Spool has it."""
        while spots := self._picked(lane, batch_bytes_max):
            found: list[tuple[int, Record]] = []
            for spot, one in zip(spots, await self._disk.run(partial(_read, spots)), strict=True):
                if one is not None:
                    found += compress(zip(spot.sequences, one[1], strict=False), self._books.backlog.waits(spot))
                else:
                    self._books.put_aside(spot.sequences)
            if out := _fitting(found, batch_bytes_max):
                return out
            # All of these have been settled meanwhile, or are put aside now: the next look goes further.
        return []

    def _picked(self, lane: Lane, bytes_wanted: int) -> list[Spot]:
        spots, picked_bytes = [], 0
        for spot in self._books.backlog.spots(lane):
            spots.append(spot)
            picked_bytes += spot.length_max
            if picked_bytes >= bytes_wanted:
                break
        return spots


def _read(spots: Sequence[Spot]) -> list[Opened | None]:
    """In the disk's thread: the frames, in order."""
    opened: list[Opened | None] = []
    for part, some in groupby(spots, key=lambda spot: spot.part):
        held = held_of(part)
        opened += held.segments.read(held, [(spot.place, spot.length_max) for spot in some])
    return opened


def _fitting(found: list[tuple[int, Record]], batch_bytes_max: int) -> list[tuple[int, Record]]:
    """From the front, as many as a batch of that size takes; at least one."""
    taken_bytes = 0
    for at, (_, record) in enumerate(found):
        taken_bytes += bytes_max((record,))
        if at and taken_bytes > batch_bytes_max:
            return found[:at]
    return found
