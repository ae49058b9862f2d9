"""What of a spool waits for Kafka, and where it stands: an index of frames and marks, never a record.

Decided here: what is to be replayed next, what is settled, and which segments are done with.  Not decided
here: reading, writing and unlinking (segments.py, spool_replay.py).  Pure state; sequences are those of this process (see `Part`).

A gigabyte of single records is 1.4 million frames; at 14 bytes each and one for every record's mark they take 22 MB.
"""

from array import array
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple

Lane = tuple[str, int]
"""A topic and a partition."""

_WAITS: Final = 0
_SETTLED: Final = 1
_ASIDE: Final = 2  # not to be replayed by this process; its segment stays, and the next start tries it again


class Spot(NamedTuple):
    """One frame that has to be read, and where it is."""

    part: "Part"
    place: int
    length_max: int  # it is no longer than this
    sequences: range


class Part:
    """One segment's frames.

    `first` is the sequence of this process: of an adopted segment it is not the one in its file, so that no two
    records of a process have the same.
    """

    __slots__ = ("aside", "begun", "first", "is_sealed", "lanes", "marks", "oldest_s", "owner", "places", "size", "starts", "waiting")

    def __init__(self, first: int, owner: object = None) -> None:
        """Args: owner: whatever the caller finds its file by."""
        self.first = first
        self.owner = owner
        self.size = 0  # bytes, header and gaps included
        self.is_sealed = False
        self.starts = array("I")  # of each frame: its first sequence, from `first`
        self.places = array("I")  # its offset
        self.lanes = array("H")  # the number of its lane
        self.oldest_s = array("I")  # the time of its first record, seconds since the epoch
        self.marks = bytearray()  # of each sequence
        self.waiting: dict[int, int] = {}  # lane → records
        self.aside = 0  # records
        self.begun: dict[int, int] = {}  # lane → no frame before this one has any that wait

    def put(self, first: int, records: int, lane: int, place: int, oldest_ms: int) -> None:
        """A frame behind all others.  Sequences left out in between count as settled: they never were, or are lost."""
        start, marks = first - self.first, self.marks
        if start != len(marks):
            assert start > len(marks), (first, self.end)
            marks += bytes([_SETTLED]) * (start - len(marks))
        marks += bytes(records)
        self.starts.append(start)
        self.places.append(place)
        self.lanes.append(lane)
        self.oldest_s.append(oldest_ms // 1000 & 0xFFFFFFFF)  # until the year 2106
        self.waiting[lane] = self.waiting.get(lane, 0) + records

    def stop_of(self, number: int) -> int:
        """Where the frame behind this one begins, from `first`."""
        return self.starts[number + 1] if number + 1 < len(self.starts) else len(self.marks)

    @property
    def end(self) -> int:
        """The sequence after its last."""
        return self.first + len(self.marks)

    def waits(self, sequence: int) -> bool:
        """Whether this one of its records is still to be replayed."""
        return self.marks[sequence - self.first] == _WAITS

    @property
    def is_done(self) -> bool:
        """Nothing in it waits, and nothing more will come."""
        return self.is_sealed and not self.waiting and not self.aside

    def __lt__(self, other: "Part") -> bool:
        return self.first < other.first


def _spot(part: Part, number: int) -> Spot:
    place = part.places[number]
    end = part.places[number + 1] if number + 1 < len(part.places) else part.size
    return Spot(part, place, end - place, range(part.first + part.starts[number], part.first + part.stop_of(number)))


class Backlog:
    """Every segment there is, in the order of its sequences."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.has_emptied = False  # nothing of some part waits that did before: there may be more to drop
        self._numbers: dict[Lane, int] = {}
        self._unused = count()
        self._waiting: Counter[int] = Counter()  # lane number → records

    # What there is

    def add(self, part: Part) -> None:
        """A segment, and the frames it has by now."""
        insort(self.parts, part)
        self._waiting.update(part.waiting)

    def put(self, part: Part, first: int, records: int, lane: Lane, place: int, oldest_ms: int) -> None:
        """A frame behind all others of its part, which was added before."""
        number = self.number(lane)
        part.put(first, records, number, place, oldest_ms)
        self._waiting[number] += records

    def drop_done(self) -> list[Part]:
        """Forget the segments that are done with; their files may go."""
        self.has_emptied = False
        done = [part for part in self.parts if part.is_done]
        if done:
            self.parts = [part for part in self.parts if not part.is_done]
        return done

    def number(self, lane: Lane) -> int:
        """A lane's number.  Two threads may ask at once: one recovers a directory while the other serves."""
        number = self._numbers.get(lane)
        return self._numbers.setdefault(lane, next(self._unused)) if number is None else number

    # What became of records

    def settle(self, sequences: range) -> int:
        """They need no replay any more; how many of them had waited.  Asking twice changes nothing."""
        return self._mark(sequences, _SETTLED)

    def put_aside(self, sequences: range) -> int:
        """They are not replayed by this process, and stay where they are."""
        return self._mark(sequences, _ASIDE)

    def _mark(self, sequences: range, mark: int) -> int:
        marked = 0
        for at in range(max(bisect_right(self.parts, sequences.start, key=lambda part: part.first) - 1, 0), len(self.parts)):
            part = self.parts[at]
            if part.first >= sequences.stop:
                break
            start, stop = max(sequences.start - part.first, 0), min(sequences.stop - part.first, len(part.marks))
            if start < stop:
                marked += self._mark_part(part, start, stop, mark)
        return marked

    def _mark_part(self, part: Part, start: int, stop: int, mark: int) -> int:
        marked, number = 0, max(bisect_right(part.starts, start) - 1, 0)
        while number < len(part.starts) and part.starts[number] < stop:
            low, high, lane = max(start, part.starts[number]), min(stop, part.stop_of(number)), part.lanes[number]
            number += 1
            waited = part.marks.count(_WAITS, low, high)
            if mark == _SETTLED:
                part.aside -= part.marks.count(_ASIDE, low, high)
                part.marks[low:high] = bytes([_SETTLED]) * (high - low)
            elif waited:
                part.marks[low:high] = part.marks[low:high].replace(b"\0", bytes([_ASIDE]))
                part.aside += waited
            if waited:
                marked += waited
                self._waiting[lane] -= waited
                part.waiting[lane] -= waited
                if not part.waiting[lane]:
                    del part.waiting[lane]
        self.has_emptied = self.has_emptied or not part.waiting
        return marked

    # What is left

    def waiting(self) -> dict[Lane, int]:
        """Records to replay, by lane; lanes with none are not in it."""
        return {lane: waiting for lane, number in list(self._numbers.items()) if (waiting := self._waiting[number])}

    def spots(self, lane: Lane) -> Iterator[Spot]:
        """The frames of a lane that hold records to replay, oldest first."""
        number = self._numbers.get(lane)
        if number is None:
            return
        for part in self.parts:
            if number in part.waiting:
                yield from self._spots_of(part, number)

    @staticmethod
    def _spots_of(part: Part, lane: int) -> Iterator[Spot]:
        at, is_first = part.begun.get(lane, 0), True
        while True:
            try:
                at = part.lanes.index(lane, at)
            except ValueError:
                return
            if part.marks.find(_WAITS, part.starts[at], part.stop_of(at)) >= 0:
                if is_first:
                    part.begun[lane] = at
                    is_first = False
                yield _spot(part, at)
            at += 1

    def oldest_s(self) -> int | None:
        """When the oldest record that waits was received, in seconds since the epoch, as its frame has it; None where none waits."""
        found = [self._oldest_of(part) for part in self.parts if part.waiting]
        return min(found, default=None)

    @staticmethod
    def _oldest_of(part: Part) -> int:
        # Frames stand in the order they were written, which is nearly that of their records' times.
        at = part.marks.find(_WAITS)
        return part.oldest_s[bisect_right(part.starts, at) - 1]

    def watermark(self, parts: list[Part], end: int) -> int:
        """Of these parts: below it every sequence is settled.  `end` where all are."""
        for part in parts:
            if part.waiting or part.aside:
                low = min(at for at in (part.marks.find(_WAITS), part.marks.find(_ASIDE)) if at >= 0)
                return part.first + low
        return end
