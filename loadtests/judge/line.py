"""The line and the door of a rehearsal, as arrays: who was there when, the door's rate, what it let through.

Pure.  Times are seconds of the rehearsal's clock.  What changes in time (the rate, how many are live) lies on one grid
of cells of STEP_S; within a cell it is taken as constant.  Passes are counted by `released_at`, as line_report does.

    told     the rate as sampled: each sample holds until the next; a paused or closed door has none
    allowed  the most that may have been in force: a change came at some time within its second, and a cut reaches the
             workers with the next sign (TICK_S); while some gateways may have lost Redis it is twice (DESIGN promise 5)

The bound of any window is the integral of `allowed` over it, and one burst of the highest rate in it, and RECKONING:
one person, because a door of n people in a window has n - 1 intervals, and what was released late: a slot just before
the window counts within it when its worker woke up late, by as much as a burst.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.line_report import BURST_S, LOBBY_S, RECKONING, live_spans
from benchmarks.people import Walked
from loadtests.observed import Observed
from loadtests.result import Mark

STEP_S: Final = 0.05
TICK_S: Final = 0.25  # gateway.toml's room.tick_ms: by then a worker has the new sign
LATE_S: Final = BURST_S  # after its slot an answer may still be released; later it books anew (waiting_room.md)
APART_S: Final = 5.0  # after Redis is back: slots booked up to 2.7 s ahead, reconnecting, and what was given is posted
LOBBIES: Final = 2  # so many of live people must wait before an idle door is anybody's fault
MINUTE_S: Final = 60.0
SHUT: Final = (0.0, 9.0)  # paused, closed: gateway/metrics.py, sluicegate_room_reason
_CHUNK: Final = 1_024  # people who are compared with each other at once

Span = tuple[float, float]


class Grid(NamedTuple):
    """A function of time: the value in each cell, and what it comes to until the cell's beginning."""

    cells: np.ndarray
    sums: np.ndarray  # one longer

    @classmethod
    def of(cls, cells: np.ndarray) -> "Grid":
        """With its integral."""
        return cls(cells, np.concatenate([[0.0], np.cumsum(cells * STEP_S)]))

    def within(self, from_s: np.ndarray, to_s: np.ndarray) -> np.ndarray:
        """The integrals; outside of the grid it is as at its ends."""
        result: np.ndarray = self._until(to_s) - self._until(from_s)
        return result

    def _until(self, at_s: np.ndarray) -> np.ndarray:
        end_s = len(self.cells) * STEP_S
        inside = np.interp(at_s, np.arange(len(self.sums)) * STEP_S, self.sums)
        before, after = np.minimum(at_s, 0.0) * self.cells[0], np.maximum(at_s - end_s, 0.0) * self.cells[-1]
        result: np.ndarray = inside + before + after
        return result

    def at(self, at_s: np.ndarray) -> np.ndarray:
        """The value at each instant."""
        result: np.ndarray = self.cells[np.clip((at_s / STEP_S).astype(np.int64), 0, len(self.cells) - 1)]
        return result


class Fullest(NamedTuple):
    """The window in which the door came nearest to its bound, or went beyond."""

    share: float  # passes / bound; nan: no pass, or no rate known
    beyond: int  # passes more than the bound
    from_s: float
    passes: int
    bound: float


@dataclass(frozen=True)
class Line:
    """What became of everybody, one value a person; nan: it never came to that."""

    people: Sequence[Walked]  # of the epoch's clock, as they were written
    place: np.ndarray  # -1: none
    joined_s: np.ndarray
    called_s: np.ndarray
    passed_s: np.ndarray
    left_s: np.ndarray
    done_s: np.ndarray
    estimated_s: np.ndarray
    released_s: np.ndarray
    again_s: np.ndarray  # of other passes, after one that expired; by nobody
    spans: list[list[Span]]  # when each could have knocked
    end_s: float
    told: Grid | None  # None: nobody knows the rate
    allowed: Grid | None

    @cached_property
    def releases_s(self) -> np.ndarray:
        """Of all passes, in order.  One that is told again, as to a second tab, is no other pass: users.py."""
        return np.sort(np.concatenate([self.released_s[~np.isnan(self.released_s)], self.again_s]))

    @cached_property
    def live(self) -> np.ndarray:
        """How many could have knocked all through each cell."""
        count = max(1, math.ceil(self.end_s / STEP_S))
        begins, ends = np.array(list(chain.from_iterable(self.spans))).reshape(-1, 2).T
        first = np.clip(np.ceil(begins / STEP_S - 1e-9), 0, count).astype(np.int64)
        last = np.maximum(np.clip(np.floor(ends / STEP_S + 1e-9), 0, count).astype(np.int64), first)
        changes = np.bincount(first, minlength=count + 1) - np.bincount(last, minlength=count + 1)
        result: np.ndarray = np.cumsum(changes)[:count]
        return result

    @cached_property
    def crowded(self) -> np.ndarray:
        """In which cells LOBBIES wait before a door that is not shut."""
        if self.told is None:
            return np.zeros(len(self.live), dtype=bool)
        rate = self.told.cells[: len(self.live)]
        result: np.ndarray = (rate > 0) & (self.live >= np.maximum(np.rint(LOBBIES * LOBBY_S * rate), 1))
        return result


def line_of(observed: Observed) -> Line | None:
    """None: nobody joined a line."""
    people, began_s = observed.recording.people, observed.began_s
    if not any(one.joined_s for one in people):
        return None

    def instants(name: str) -> np.ndarray:
        at_s = np.array([getattr(one, name) for one in people], dtype=np.float64)
        return np.where(at_s != 0.0, at_s - began_s, np.nan)

    end_s = observed.ended_s
    spans = [[(begin_s - began_s, until_s - began_s) for begin_s, until_s in live_spans([one], began_s + end_s)] for one in people]
    told, allowed = rates(observed.samples, observed.marks, end_s)
    estimated_s = np.array([one.estimated_s for one in people])
    return Line(
        people=people,
        place=np.array([one.place for one in people], dtype=np.int64),
        joined_s=instants("joined_s"),
        called_s=instants("called_s"),
        passed_s=instants("passed_s"),
        left_s=instants("left_s"),
        done_s=instants("done_s"),
        estimated_s=np.where(estimated_s >= 0, estimated_s, np.nan),
        released_s=instants("released_s"),
        again_s=np.array([at_s - began_s for one in people for at_s in one.released_again], dtype=np.float64),
        spans=spans,
        end_s=end_s,
        told=told,
        allowed=allowed,
    )


# The rate


def rates(samples: Mapping[str, Sequence[float]], marks: Sequence[Mark], end_s: float) -> tuple[Grid | None, Grid | None]:
    """(told, allowed), until `end_s`; None twice where no sample knows a rate."""
    at_s = np.array(samples.get("at_s", []), dtype=np.float64)
    per_s = np.array(samples.get("door_per_s", []), dtype=np.float64)
    reason = np.array(samples.get("door_reason", [math.nan] * len(per_s)), dtype=np.float64)
    known = ~np.isnan(per_s)
    at_s, per_s = at_s[known], np.where(np.isin(reason, SHUT), 0.0, per_s)[known]
    if not len(at_s):
        return None, None
    count = max(1, math.ceil(end_s / STEP_S))
    middles_s = (np.arange(count) + 0.5) * STEP_S
    told = per_s[np.maximum(np.searchsorted(at_s, middles_s, side="right") - 1, 0)]
    allowed = told.copy()
    since_s = np.concatenate([[-math.inf], at_s[:-1]])
    until_s = np.concatenate([at_s[1:] + TICK_S, [math.inf]])
    for rate, from_s, to_s in zip(per_s, since_s, until_s, strict=True):
        _raise(allowed, rate, from_s, to_s)
    doubled = np.ones(count)
    for mark in marks:
        if mark.what.lower().startswith("redis"):
            _raise(doubled, 2.0, mark.from_s, mark.to_s + APART_S)
    return Grid.of(told), Grid.of(allowed * doubled)


def _raise(cells: np.ndarray, value: float, from_s: float, to_s: float) -> None:
    """To at least `value`, in all cells that the time touches."""
    first = 0 if from_s < 0 else min(int(from_s / STEP_S), len(cells))
    last = len(cells) if to_s >= len(cells) * STEP_S else math.ceil(to_s / STEP_S)
    cells[first:last] = np.maximum(cells[first:last], value)


# The door


def _between(instants_s: np.ndarray, span: Span) -> np.ndarray:
    result: np.ndarray = (instants_s >= span[0]) & (instants_s < span[1])
    return result


def per_s(line: Line, span: Span) -> float:
    """Passes a second."""
    seconds = min(span[1], line.end_s) - span[0]
    return float(_between(line.releases_s, span).sum()) / seconds if seconds > 0 else math.nan


def used(line: Line, span: Span) -> float:
    """Passes / (rate x time) while LOBBIES wait; nan: they never do.

    A crowd of just so many often ends with a pass: that one belongs to it, so each crowd has the cell after it too.
    """
    if line.told is None:
        return math.nan
    count = len(line.live)
    starts_s = np.arange(count) * STEP_S
    cells = line.crowded & _between(starts_s + STEP_S / 2, span)
    cells |= np.concatenate([[False], cells[:-1]])
    could = float(line.told.cells[:count][cells].sum()) * STEP_S
    return float(_passes_by_cell(line)[cells].sum()) / could if could else math.nan


def _passes_by_cell(line: Line) -> np.ndarray:
    """A pass released outside of the grid is in none."""
    cell = np.floor(line.releases_s / STEP_S).astype(np.int64)
    return np.bincount(cell[(cell >= 0) & (cell < len(line.live))], minlength=len(line.live))


def deepest_minute(line: Line, span: Span) -> float:
    """Passes / (rate x 60 s) in the minute with the most live people, of those in which LOBBIES wait all the while; nan: there is none."""
    width = round(MINUTE_S / STEP_S)
    first, last = max(0, math.ceil(span[0] / STEP_S - 1e-9)), min(len(line.live), int(span[1] / STEP_S + 1e-9))
    if line.told is None or last - first < width:
        return math.nan

    def rolled(cells: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(cells[first:last])])
        result: np.ndarray = sums[width:] - sums[:-width]
        return result

    depth = np.where(rolled(line.crowded) >= width, rolled(line.live), -1.0)
    deepest = int(depth.argmax())
    if depth[deepest] < 0:
        return math.nan
    could = float(rolled(line.told.cells[: len(line.live)])[deepest]) * STEP_S
    return float(rolled(_passes_by_cell(line))[deepest]) / could


def most_in(line: Line, window_s: float, span: Span) -> Fullest:
    """Of all half-open windows that begin or end with a pass of the span, the one nearest to its bound."""
    if line.allowed is None or not len(line.releases_s):
        return Fullest(math.nan, 0, math.nan, 0, math.nan)
    times = line.releases_s
    count = np.arange(len(times))
    after = np.searchsorted(times, times + window_s, side="left") - count  # within [t, t + window)
    before = count + 1 - np.searchsorted(times, times - window_s, side="right")  # within (t - window, t]
    from_s, passes = np.concatenate([times, times - window_s]), np.concatenate([after, before])
    wanted = np.tile(_between(times, span), 2)
    if not wanted.any():
        return Fullest(math.nan, 0, math.nan, 0, math.nan)
    from_s, passes = from_s[wanted], passes[wanted]
    bound = bounds(line.allowed, from_s, window_s)
    worst, most = int((passes / bound).argmax()), int((passes - bound).argmax())
    beyond = max(0, math.ceil(passes[most] - bound[most] - 1e-9))
    return Fullest(float(passes[worst] / bound[worst]), beyond, float(from_s[worst]), int(passes[worst]), float(bound[worst]))


def bounds(allowed: Grid, from_s: np.ndarray, window_s: float) -> np.ndarray:
    """How many may pass within each window: what the header says."""
    cells = math.ceil(window_s / STEP_S) + 1  # a window that begins within a cell touches one more
    padded = np.concatenate([np.full(cells, allowed.cells[0]), allowed.cells, np.full(cells, allowed.cells[-1])])
    highest = sliding_window_view(padded, cells).max(axis=1)
    first = np.clip(np.floor(from_s / STEP_S).astype(np.int64) + cells, 0, len(highest) - 1)
    result: np.ndarray = allowed.within(from_s, from_s + window_s) + (BURST_S + LATE_S) * highest[first] + RECKONING
    return result


# Overtaking


def overtaken_s(line: Line) -> np.ndarray:
    """Of each person: how many of later places the door let in while they were there, in seconds of its rate; nan: no rate known.

    Compared in chunks, from the last place to the first: of all later chunks a running sum over the passes in order of time, within
    a chunk each with each.  A million people take seconds.
    """
    result = np.full(len(line.people), np.nan)
    if line.told is None or not (line.told.cells > 0).any():
        return result
    result[:] = 0.0
    passed = np.flatnonzero(~np.isnan(line.released_s) & (line.place >= 0))
    passed = passed[np.argsort(line.released_s[passed], kind="stable")]
    at_s = line.released_s[passed]
    rate = line.told.at(at_s)
    seconds = 1 / np.where(rate > 0, rate, line.told.cells[line.told.cells > 0].min())
    index = np.full(len(line.people), -1)
    index[passed] = np.arange(len(passed))
    later = np.zeros(len(passed))
    backwards = np.argsort(-line.place, kind="stable")
    backwards = backwards[line.place[backwards] >= 0]
    for begin in range(0, len(backwards), _CHUNK):
        chunk = backwards[begin : begin + _CHUNK]
        owner = np.array([person for person in chunk for _ in line.spans[person]], dtype=np.int64)
        spans = np.array([span for person in chunk for span in line.spans[person]]).reshape(-1, 2)
        spans[:, 1] = np.fmin(spans[:, 1], line.released_s[owner])  # the door let them in, though the answer may have been lost
        sums = np.concatenate([[0.0], np.cumsum(later)])
        over = sums[np.searchsorted(at_s, spans[:, 1], side="left")] - sums[np.searchsorted(at_s, spans[:, 0], side="left")]
        among = chunk[index[chunk] >= 0]
        is_over = (line.place[among] > line.place[owner][:, None]) & (line.released_s[among] >= spans[:, :1]) & (line.released_s[among] < spans[:, 1:])
        np.add.at(result, owner, over + is_over @ seconds[index[among]])
        later[index[among]] = seconds[index[among]]
    return result
