"""What of a spool waits for Kafka, and where it stands: an index of frames and marks, never a record.

Decided here: what is to be replayed next, what is settled, and which segments are done with.  Not decided
here: reading, writing and unlinking (spool/segments.py, spool/replay.py).  Pure state; sequences are those of this process
(core/part.py).

Lanes are replayed from about the same place, so of many segments few are in use: a few indexes are unpacked, those
used last.  A lane that is far behind the others costs 3 ms a batch then, and no more memory.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple

from gateway.core.part import ASIDE, SETTLED, WAITS, Index, Part, Rows

Lane = tuple[str, int]
"""A topic and a partition."""

# Of 64 MiB in frames of one record each takes 1.7 MB.
_UNPACKED_MAX: Final = 8


class Spot(NamedTuple):
    """One frame that has to be read, and where it is."""

    part: Part
    place: int
    length_max: int  # it is no longer than this
    sequences: range


class Backlog:
    """Every segment there is, in the order of its sequences."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.has_emptied = False  # nothing of some part waits that did before: there may be more to drop
        self._numbers: dict[Lane, int] = {}
        self._lanes: dict[int, Lane] = {}
        self._unused = count()
        self._waiting: dict[Lane, int] = {}  # records; lanes with none are not in it
        self._unpacked: list[Part] = []  # that one last which was used last

    # What there is

    def add(self, part: Part) -> None:
        """A segment, and the frames it has by now."""
        insort(self.parts, part)
        for number, records in part.waiting.items():
            self._count(number, records)
        if not part.is_packed:
            self._use(part)

    def put(self, part: Part, first: int, records: int, lane: Lane, place: int, oldest_ms: int) -> None:
        """A frame behind all others of its part, which was added before."""
        number = self.number(lane)
        part.put(Rows([first], [records], [number], [place], [oldest_ms]))
        self._count(number, records)

    def drop_done(self) -> list[Part]:
        """Forget the segments that are done with; their files may go."""
        self.has_emptied = False
        done = [part for part in self.parts if part.is_done]
        if done:
            self.parts = [part for part in self.parts if not part.is_done]
            self._unpacked = [part for part in self._unpacked if not part.is_done]
        return done

    def number(self, lane: Lane) -> int:
        """A lane's number.  Two threads may ask at once: one recovers a directory while the other serves."""
        number = self._numbers.get(lane)
        if number is None:
            unused = next(self._unused)
            self._lanes[unused] = lane  # before anyone can have that number
            number = self._numbers.setdefault(lane, unused)
        return number

    def _count(self, number: int, records: int) -> None:
        lane = self._lanes[number]
        left = self._waiting[lane] = self._waiting.get(lane, 0) + records
        if not left:
            del self._waiting[lane]

    # Which indexes are unpacked

    def _use(self, part: Part) -> Index:
        """Its index; for it that one is packed which was used longest ago."""
        if not self._unpacked or self._unpacked[-1] is not part:
            if part in self._unpacked:
                self._unpacked.remove(part)
            self._unpacked.append(part)
            # The one that is written to is not packed, nor the one asked for, which stands last.
            for one in [one for one in self._unpacked[:-1] if one.is_sealed][: max(len(self._unpacked) - _UNPACKED_MAX, 0)]:
                one.pack()
                self._unpacked.remove(one)
        return part.index

    # What became of records

    def settle(self, sequences: range) -> int:
        """They need no replay any more; how many of them had waited.  Asking twice changes nothing."""
        return self._mark(sequences, SETTLED)

    def put_aside(self, sequences: range) -> int:
        """They are not replayed by this process, and stay where they are."""
        return self._mark(sequences, ASIDE)

    def _mark(self, sequences: range, mark: int) -> int:
        marked = 0
        for at in range(max(bisect_right(self.parts, sequences.start, key=lambda part: part.first) - 1, 0), len(self.parts)):
            part = self.parts[at]
            if part.first >= sequences.stop:
                break
            start, stop = max(sequences.start - part.first, 0), min(sequences.stop - part.first, part.records)
            if start < stop and (part.waiting or part.aside):
                marked += self._mark_part(part, start, stop, mark)
        return marked

    def _mark_part(self, part: Part, start: int, stop: int, mark: int) -> int:
        index = self._use(part)
        marks, starts = index.marks, index.starts
        marked, number = 0, max(bisect_right(starts, start) - 1, 0)
        while number < len(starts) and starts[number] < stop:
            low, high, lane = max(start, starts[number]), min(stop, index.stop_of(number)), index.lanes[number]
            number += 1
            waited = marks.count(WAITS, low, high)
            if mark == SETTLED:
                part.aside -= marks.count(ASIDE, low, high)
                marks[low:high] = bytes([SETTLED]) * (high - low)
            elif waited:
                marks[low:high] = marks[low:high].replace(b"\0", bytes([ASIDE]))
                part.aside += waited
            if waited:
                marked += waited
                self._count(lane, -waited)
                part.waiting[lane] -= waited
                if not part.waiting[lane]:
                    del part.waiting[lane]
        self.has_emptied = self.has_emptied or not part.waiting
        return marked

    # What is left

    def waiting(self) -> dict[Lane, int]:
        """Records to replay, by lane; lanes with none are not in it."""
        return self._waiting.copy()

    def waiting_bytes(self) -> int:
        """About what they take of the segments."""
        return sum(part.waiting_bytes for part in self.parts)

    def spots(self, lane: Lane) -> Iterator[Spot]:
        """The frames of a lane that hold records to replay, oldest first."""
        number = self._numbers.get(lane)
        if number is None:
            return
        for part in self.parts:
            if number in part.waiting:
                yield from self._spots_of(part, number)

    def _spots_of(self, part: Part, lane: int) -> Iterator[Spot]:
        at, is_first = part.begun.get(lane, 0), True
        while True:
            index = self._use(part)  # while a caller looked at the one before, it may have been packed
            try:
                at = index.lanes.index(lane, at)
            except ValueError:
                return
            if index.marks.find(WAITS, index.starts[at], index.stop_of(at)) >= 0:
                if is_first:
                    part.begun[lane] = at
                    is_first = False
                yield _spot(part, index, at)
            at += 1

    def waits(self, spot: Spot) -> list[bool]:
        """Of each of its records: whether it is still to be replayed."""
        start = spot.sequences.start - spot.part.first
        return [mark == WAITS for mark in self._use(spot.part).marks[start : start + len(spot.sequences)]]

    def oldest_s(self) -> int | None:
        """When the oldest record that waits was received, in seconds since the epoch, as its frame has it; None where none waits."""
        return min([part.oldest for part in self.parts if part.waiting], default=None)

    def watermark(self, parts: list[Part], end: int) -> int:
        """Of these parts: below it every sequence is settled.  `end` where all are."""
        return next((part.low for part in parts if part.waiting or part.aside), end)


def _spot(part: Part, index: Index, number: int) -> Spot:
    place = index.places[number]
    end = index.places[number + 1] if number + 1 < len(index.places) else part.size
    return Spot(part, place, end - place, range(part.first + index.starts[number], part.first + index.stop_of(number)))
