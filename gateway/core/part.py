"""One segment's frames, as an index: where each stands, whose it is, and what became of its records.

Decided here: how much memory that takes.  Pure state; sequences are those of this process (see `Part`).

A frame takes 14 bytes and each of its records one.  A day without Kafka at 200 a second may be 17 million frames of
one record, hence an index that is not in use is packed: bytes of a kind side by side, then deflated, it takes two
bytes a frame and 3 ms to be used again.  Reading it anew from its segment would take 100 ms, and may fail.
"""

import zlib
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

WAITS: Final = 0
SETTLED: Final = 1
ASIDE: Final = 2  # not to be replayed by this process; its segment stays, and the next start tries it again

_FASTEST: Final = 1  # of zlib's levels; the best saves a tenth more and takes twice as long


class Rows(NamedTuple):
    """Frames one behind the other, by columns."""

    firsts: Sequence[int]  # their first sequences
    records: Sequence[int]
    lanes: Sequence[int]  # their lanes' numbers
    places: Sequence[int]  # their offsets
    oldest_ms: Sequence[int]  # the time of their first record


class Index:
    """A segment's frames, unpacked."""

    __slots__ = ("lanes", "marks", "oldest_s", "places", "starts")

    def __init__(self) -> None:
        self.starts = array("I")  # of each frame: its first sequence, from its part's `first`
        self.places = array("I")  # its offset
        self.lanes = array("H")  # the number of its lane
        self.oldest_s = array("I")  # the time of its first record, seconds since the epoch
        self.marks = bytearray()  # of each sequence

    def stop_of(self, number: int) -> int:
        """Where the frame behind this one begins, from its part's `first`."""
        return self.starts[number + 1] if number + 1 < len(self.starts) else len(self.marks)

    @property
    def low(self) -> int:
        """The first sequence that is not settled, from its part's `first`; behind the last where all are."""
        found = [at for at in (self.marks.find(WAITS), self.marks.find(ASIDE)) if at >= 0]
        return min(found, default=len(self.marks))

    @property
    def oldest(self) -> int:
        """When the first record that waits was received, as its frame has it.  There is one."""
        # Frames stand in the order they were written, which is nearly that of their records' times.
        return self.oldest_s[bisect_right(self.starts, self.marks.find(WAITS)) - 1]

    def columns(self) -> "tuple[array[int], ...]":
        """What there is of each frame."""
        return self.starts, self.places, self.lanes, self.oldest_s


class Part:
    """One segment's frames.

    `first` is the sequence of this process: of an adopted segment it is not the one in its file, so that no two
    records of a process have the same.
    """

    __slots__ = ("_index", "_low", "_oldest", "_packed", "aside", "begun", "first", "frames", "is_sealed", "owner", "records", "size", "waiting")

    def __init__(self, first: int, owner: object = None) -> None:
        """Args: owner: whatever the caller finds its file by."""
        self.first = first
        self.owner = owner
        self.size = 0  # bytes, header and gaps included
        self.is_sealed = False
        self.frames = 0
        self.records = 0  # sequences that are missing included
        self.waiting: dict[int, int] = {}  # lane → records
        self.aside = 0  # records
        self.begun: dict[int, int] = {}  # lane → no frame before this one has any that wait
        self._index: Index | None = Index()
        self._packed = b""
        self._low = self._oldest = 0  # as they were when it was packed: only what is unpacked changes

    def put(self, rows: Rows) -> None:
        """Frames behind all others.  Sequences left out in between count as settled: they never were, or are lost."""
        index, marks, base = self.index, self.index.marks, self.first
        added = sum(rows.records)
        if rows.firsts[0] == self.end and rows.firsts[-1] + rows.records[-1] == self.end + added:
            marks += bytes(added)
        else:
            for first, records in zip(rows.firsts, rows.records, strict=True):
                assert first - base >= len(marks), (first, self.end)
                marks += bytes([SETTLED]) * (first - base - len(marks)) + bytes(records)
        index.starts.extend([first - base for first in rows.firsts])
        index.places.extend(rows.places)
        index.lanes.extend(rows.lanes)
        index.oldest_s.extend([oldest_ms // 1000 & 0xFFFFFFFF for oldest_ms in rows.oldest_ms])  # until the year 2106
        for lane, records in zip(rows.lanes, rows.records, strict=True):
            self.waiting[lane] = self.waiting.get(lane, 0) + records
        self.frames, self.records = len(index.starts), len(marks)

    @property
    def end(self) -> int:
        """The sequence after its last."""
        return self.first + self.records

    @property
    def is_done(self) -> bool:
        """Nothing in it waits, and nothing more will come."""
        return self.is_sealed and not self.waiting and not self.aside

    @property
    def low(self) -> int:
        """The first of its sequences that is not settled, or `end`."""
        return self.first + (self._low if self._index is None else self._index.low)

    @property
    def oldest(self) -> int:
        """When the oldest of its records that wait was received; there is one."""
        return self._oldest if self._index is None else self._index.oldest

    @property
    def waiting_bytes(self) -> int:
        """Of its bytes, about what those take that wait: as if all records were of one size, and what is settled took nothing."""
        return self.size * sum(self.waiting.values()) // max(self.records, 1)

    # Packing

    @property
    def is_packed(self) -> bool:
        """Whether `index` has to unpack it first."""
        return self._index is None

    def pack(self) -> None:
        """Take less memory until it is used again."""
        if (index := self._index) is None:
            return
        self._low, self._oldest = index.low, index.oldest if self.waiting else 0
        self._packed = zlib.compress(b"".join([*map(_planes, index.columns()), index.marks]), _FASTEST)
        self._index = None

    @property
    def index(self) -> Index:
        """Its frames, unpacked."""
        if self._index is None:
            self._index, packed = Index(), zlib.decompress(self._packed)
            at, self._packed = 0, b""
            for column in self._index.columns():
                size = self.frames * column.itemsize
                column.frombytes(_unplaned(packed[at : at + size], column.itemsize))
                at += size
            self._index.marks += packed[at:]
        return self._index

    def __lt__(self, other: "Part") -> bool:
        return self.first < other.first


def _planes(column: "array[int]") -> bytes:
    """The first bytes of all its numbers, then the second ones…: most planes are nearly all the same."""
    content = column.tobytes()
    return b"".join([content[at :: column.itemsize] for at in range(column.itemsize)])


def _unplaned(planes: bytes, itemsize: int) -> bytes:
    content, count = bytearray(len(planes)), len(planes) // itemsize
    for at in range(itemsize):
        content[at::itemsize] = planes[at * count : (at + 1) * count]
    return bytes(content)
