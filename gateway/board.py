"""The board: counters and gauges of all processes in one inherited memfd.

Decided here: where each series of the catalogue lives, and that one process
writes one slot.  Not decided here: how it is shown (ops/).

    ┌ slot 0 (worker 0) ┐┌ slot 1 (worker 1) ┐ … ┌ slot N (supervisor) ┐
    │ counters  u64 × C ││                   │   │                     │
    │ gauges    f64 × G ││                   │   │                     │
    │ watermarks u64×W  ││                   │   │                     │┌ of other machines' spools ┐
    │ sheets    u64 × S ││                   │   │  (unused)           ││                           │
    └───────────────────┘└───────────────────┘   └─────────────────────┘└───────────────────────────┘

A histogram is counters: one per bucket, one for +Inf, one for the sum in µs.
Watermarks are those of the worker's spools (watermarks.py); of other machines the supervisor writes what it hears.
Sheets are the audit's (audit/sheets.py).
One writer per slot and 8-byte aligned stores: no lock.  A worker that is killed
leaves its counters where they are and its successor goes on counting there, so
no count is lost and none goes backwards; gauges say what *is*, so a successor
starts by zeroing them.
"""

import mmap
import os
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from gateway.audit.sheets import WORDS as SHEET_WORDS
from gateway.metrics import BY_NAME, CATALOGUE
from gateway.watermarks import SPOOLS_MAX, Watermarks, words_of

_WORD_BYTES: Final = 8


def _layout() -> tuple[dict[tuple[str, tuple[str, ...]], int], int, dict[tuple[str, tuple[str, ...]], int], int]:
    """Index of each series' first word: (counters, how many words, gauges, how many words)."""
    counters: dict[tuple[str, tuple[str, ...]], int] = {}
    gauges: dict[tuple[str, tuple[str, ...]], int] = {}
    counter_words = gauge_words = 0
    for metric in CATALOGUE:
        for labels in metric.series():
            if metric.kind == "gauge":
                gauges[metric.name, labels] = gauge_words
                gauge_words += 1
            else:
                counters[metric.name, labels] = counter_words
                counter_words += len(metric.buckets) + 2 if metric.kind == "histogram" else 1
    return counters, counter_words, gauges, gauge_words


_COUNTERS, _COUNTER_WORDS, _GAUGES, _GAUGE_WORDS = _layout()
_WATERMARK_WORDS: Final = words_of(SPOOLS_MAX)
_SLOT_BYTES: Final = (_COUNTER_WORDS + _GAUGE_WORDS + _WATERMARK_WORDS + SHEET_WORDS) * _WORD_BYTES
MACHINES_MAX: Final = 64  # that are heard of
_ABROAD_BYTES: Final = words_of(MACHINES_MAX * SPOOLS_MAX) * _WORD_BYTES


class Counter:
    """A count that only grows."""

    __slots__ = ("_index", "_words")

    def __init__(self, words: "memoryview[int]", index: int) -> None:
        self._words = words
        self._index = index

    def add(self, n: int = 1) -> None:
        self._words[self._index] += n

    @property
    def value(self) -> int:
        return self._words[self._index]


class Gauge:
    """A value that is true now."""

    __slots__ = ("_index", "_words")

    def __init__(self, words: "memoryview[float]", index: int) -> None:
        self._words = words
        self._index = index

    def set(self, value: float) -> None:
        self._words[self._index] = value

    @property
    def value(self) -> float:
        return self._words[self._index]


class Histogram:
    """Counts by upper bound, and the sum; observe in seconds."""

    __slots__ = ("_bounds", "_index", "_words")

    def __init__(self, words: "memoryview[int]", index: int, bounds: tuple[float, ...]) -> None:
        self._words = words
        self._index = index
        self._bounds = bounds

    def observe(self, seconds: float, times: int = 1) -> None:
        self._words[self._index + bisect_left(self._bounds, seconds)] += times
        self._words[self._index + len(self._bounds) + 1] += int(seconds * 1e6) * times

    @property
    def counts(self) -> list[int]:
        """Per bucket (not cumulative), the last one being +Inf."""
        return [self._words[self._index + i] for i in range(len(self._bounds) + 1)]

    @property
    def sum_s(self) -> float:
        return self._words[self._index + len(self._bounds) + 1] / 1e6


class Slot:
    """One process's part of the board.  A name or label that is not in the catalogue is a KeyError."""

    def __init__(self, block: memoryview) -> None:
        gauges = _COUNTER_WORDS * _WORD_BYTES
        watermarks = gauges + _GAUGE_WORDS * _WORD_BYTES
        sheets = watermarks + _WATERMARK_WORDS * _WORD_BYTES
        self.counter_words: memoryview[int] = block[:gauges].cast("Q")
        self._gauge_words: memoryview[float] = block[gauges:watermarks].cast("d")
        self.watermarks = Watermarks(block[watermarks:sheets].cast("Q"))
        self.sheet_words: memoryview[int] = block[sheets:].cast("Q")

    def counter(self, name: str, *labels: str) -> Counter:
        return Counter(self.counter_words, _COUNTERS[name, labels])

    def gauge(self, name: str, *labels: str) -> Gauge:
        return Gauge(self._gauge_words, _GAUGES[name, labels])

    def histogram(self, name: str, *labels: str) -> Histogram:
        return Histogram(self.counter_words, _COUNTERS[name, labels], BY_NAME[name].buckets)

    def counters_by(self, name: str, *fixed: str) -> Mapping[str, Counter]:
        """Counters of `name` by the value of its last label, the ones before it fixed."""
        return {labels[-1]: self.counter(name, *labels) for labels in BY_NAME[name].series() if labels[:-1] == fixed}

    def zero_gauges(self) -> None:
        """Called by a process when it takes the slot over."""
        for i in range(_GAUGE_WORDS):
            self._gauge_words[i] = 0.0


class Totals:
    """The counters of all processes together, as they stood at one instant."""

    __slots__ = ("_words",)

    def __init__(self, words: list[int]) -> None:
        self._words = words

    def count(self, name: str, *labels: str) -> int:
        """Of one counter."""
        return self._words[_COUNTERS[name, labels]]

    def counts(self, name: str, *labels: str) -> list[int]:
        """Of one histogram: per bucket (not cumulative), the last one being +Inf."""
        index = _COUNTERS[name, labels]
        return self._words[index : index + len(BY_NAME[name].buckets) + 1]

    def sum_s(self, name: str, *labels: str) -> float:
        """Of one histogram: all that was observed."""
        return self._words[_COUNTERS[name, labels] + len(BY_NAME[name].buckets) + 1] / 1e6


class Board:
    """All slots, mapped into this process.  The last slot is the supervisor's."""

    def __init__(self, fd: int, workers: int) -> None:
        """Map the board behind `fd`; every process names the same number of `workers`."""
        self.fd = fd
        self.workers = workers
        size = _SLOT_BYTES * (workers + 1) + _ABROAD_BYTES
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        view = memoryview(mmap.mmap(fd, size))
        self.slots = tuple(Slot(view[i * _SLOT_BYTES : (i + 1) * _SLOT_BYTES]) for i in range(workers + 1))
        self.abroad = Watermarks(view[size - _ABROAD_BYTES :].cast("Q"))

    @classmethod
    def create(cls, workers: int) -> "Board":
        """A new, zeroed board in a memfd that children may inherit."""
        return cls(os.memfd_create("sluicegate-board", 0), workers)

    def totals(self) -> Totals:
        """Read once, slot by slot: each counter by itself never goes backwards from one reading to the next."""
        return Totals(list(map(sum, zip(*(slot.counter_words for slot in self.slots), strict=True))))

    @property
    def watermarks(self) -> tuple[Watermarks, ...]:
        """Of this machine's spools, and last those of others."""
        return *(slot.watermarks for slot in self.slots), self.abroad

    @property
    def supervisor(self) -> Slot:
        return self.slots[-1]
