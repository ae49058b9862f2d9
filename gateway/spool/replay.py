"""A spool read back: a lane's oldest records, batch by batch, as Kafka is to have them.

Decided here: what is read at once, and what follows when something cannot be read.  Memory is that of one batch,
however long the backlog.

    damaged: it is not what was written        put aside at once
    the disk does not give it                  asked again, a few times; what is still not given then is put aside
    for want of descriptors or memory          nothing can be read just now: that says nothing of the disk

One lane reads at a time, and rests for as long as that took: the disk's thread is the commits', too, and what it does
with a frame is work that the loop waits for.  Live requests have half of both, however long the backlog.

What is put aside blocks nobody: it stays in its segment, and the next start looks at it once more.  Until then its
lane waits, for what stands behind it may not be sent before it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import compress, groupby
from pathlib import Path
from typing import NamedTuple

from gateway import logs
from gateway.core.backlog import Lane, Spot
from gateway.core.event import Record, bytes_max
from gateway.disk import NOT_THE_DISKS, PAUSES_S, Disk
from gateway.spool.books import Books
from gateway.spool.segments import Opened, held_of


class _Unread(NamedTuple):
    """A frame that the disk did not give."""

    spot: Spot
    error: OSError


class Replay:
    """One spool's."""

    def __init__(self, disk: Disk, books: Books) -> None:
        self._disk = disk
        self._books = books
        self._reading = asyncio.Lock()
        self._worn: set[Path] = set()  # segments of which something was put aside for that: the rest is asked for once

    async def read(self, lane: Lane, batch_bytes_max: int) -> list[tuple[int, Record]]:
        """As gateway.spool.store.Spool has it."""
        tries = 0
        while (of := await self._in_turn(lane, batch_bytes_max)) is not None:
            found, unread = self._sorted(*of)
            if found:
                return _fitting(found, batch_bytes_max)
            if unread is None:
                continue  # all of these have been settled meanwhile, or are put aside now: the next look goes further
            if tries < len(PAUSES_S) and not self._is_worn(unread):
                await asyncio.sleep(PAUSES_S[tries])
                tries += 1
            elif unread.error.errno in NOT_THE_DISKS:
                logs.warning("a spool cannot be read just now", name=held_of(unread.spot.part).name, reason=unread.error.strerror)
                break
            else:
                self._leave(unread)
        return []

    async def _in_turn(self, lane: Lane, bytes_wanted: int) -> tuple[list[Spot], list[Opened | OSError | None]] | None:
        """A lane's oldest frames and what was read of each; None where nothing waits."""
        async with self._reading:
            spots = self._picked(lane, bytes_wanted)
            if not spots:
                return None
            clock = asyncio.get_running_loop().time
            began_s = clock()
            read = await self._disk.run(partial(_read, spots))
            await asyncio.sleep(clock() - began_s)
        return spots, read

    def _picked(self, lane: Lane, bytes_wanted: int) -> list[Spot]:
        spots, picked_bytes = [], 0
        for spot in self._books.backlog.spots(lane):
            spots.append(spot)
            picked_bytes += spot.length_max
            if picked_bytes >= bytes_wanted:
                break
        return spots

    def _sorted(self, spots: Sequence[Spot], read: Sequence[Opened | OSError | None]) -> tuple[list[tuple[int, Record]], _Unread | None]:
        """The records that still wait, up to the first frame that the disk did not give."""
        found: list[tuple[int, Record]] = []
        for spot, one in zip(spots, read, strict=False):
            if isinstance(one, OSError):
                return found, _Unread(spot, one)
            if one is None:
                self._books.put_aside(spot.sequences)
            else:
                found += compress(zip(spot.sequences, one[1], strict=False), self._books.backlog.waits(spot))
        return found, None

    def _is_worn(self, unread: _Unread) -> bool:
        return unread.error.errno not in NOT_THE_DISKS and held_of(unread.spot.part).path in self._worn

    def _leave(self, unread: _Unread) -> None:
        held = held_of(unread.spot.part)
        if held.path not in self._worn:  # one line a segment, not one a frame
            logs.error("a segment of the spool cannot be read", name=held.name, place=unread.spot.place, reason=unread.error.strerror)
        self._worn.add(held.path)
        self._books.put_aside(unread.spot.sequences)


def _read(spots: Sequence[Spot]) -> list[Opened | OSError | None]:
    """In the disk's thread: the frames, in order, up to the first that the disk does not give."""
    read: list[Opened | OSError | None] = []
    for part, some in groupby(spots, key=lambda spot: spot.part):
        held = held_of(part)
        read += held.segments.read(held, [(spot.place, spot.length_max) for spot in some])
        if isinstance(read[-1], OSError):
            break
    return read


def _fitting(found: list[tuple[int, Record]], batch_bytes_max: int) -> list[tuple[int, Record]]:
    """From the front, as many as a batch of that size takes; at least one."""
    taken_bytes = 0
    for at, (_, record) in enumerate(found):
        taken_bytes += bytes_max((record,))
        if at and taken_bytes > batch_bytes_max:
            return found[:at]
    return found
