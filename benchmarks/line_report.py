"""What a crowd before the door says of it: the rate, who got through, how long the called wait, and downstream's share.

Pure.  Passes are counted by `released_at`, which is the room's time and, on one machine, everybody's.  Live are those
who have a place and no pass, have not left and do not sleep.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from benchmarks.arrivals import Phase
from benchmarks.downstream import Taken
from benchmarks.measure import percentile
from benchmarks.overload_report import Verdict
from benchmarks.people import Walked, most_in

LOBBY_S: Final = 3.0  # core/sign.py's lobby_us
BURST_S: Final = 0.2  # and its burst_us
RECKONING: Final = 1  # people: two workers reckon the room's time to a few milliseconds
WINDOWS_S: Final = (1.0, 10.0)
USED_MIN: Final = 0.97
LATER_S_MAX: Final = 1.0

Span = tuple[float, float]


class Door(NamedTuple):
    """One run before a door of a constant rate."""

    name: str
    rate_per_s: float
    most: tuple[int, ...]  # passes within any of WINDOWS_S
    passes: int
    used: float  # of rate x time, while two lobbies of live people wait
    used_s: float  # and how long that was
    knocks_per_pass: float  # that came by knocking, not with the join
    called_s: tuple[float, float]  # from being told so to the pass: p50, p99
    lost: int  # people who stayed or came back, and got nothing
    moved: int  # people who were given another place, or one that somebody has
    statuses: dict[str, int]
    unanswered: int


# The door


def live_spans(walked: Iterable[Walked], end_s: float) -> list[Span]:
    """When each of them could have knocked."""
    spans = []
    for one in walked:
        if not one.joined_s:
            continue
        gone_s = min(at_s for at_s in (one.passed_s, one.left_s, end_s) if at_s)
        edges = [one.joined_s, *(at_s for away in one.away for at_s in away), gone_s]
        clipped = [(max(begin_s, one.joined_s), min(until_s, gone_s)) for begin_s, until_s in zip(edges[::2], edges[1::2], strict=True)]
        spans += [(begin_s, until_s) for begin_s, until_s in clipped if begin_s < until_s]
    return spans


def crowded(spans: Iterable[Span], least: int) -> list[Span]:
    """When at least so many of them were live."""
    changes = Counter[float]()
    for begin_s, end_s in spans:
        changes[begin_s] += 1
        changes[end_s] -= 1
    times = sorted(changes)
    counts = accumulate(changes[at_s] for at_s in times)
    joined = list[Span]()
    for (begin_s, end_s), count in zip(pairwise(times), counts, strict=False):
        if count < least:
            continue
        if joined and joined[-1][1] == begin_s:
            joined[-1] = joined[-1][0], end_s
        else:
            joined.append((begin_s, end_s))
    return joined


def used(released_s: Sequence[float], spans: Iterable[Span], rate_per_s: float) -> tuple[float, float]:
    """(passes / rate x time, the time in seconds) within these spans."""
    times, seconds, passes = sorted(released_s), 0.0, 0
    for begin_s, end_s in spans:
        seconds += end_s - begin_s
        passes += bisect_right(times, end_s) - bisect_right(times, begin_s)
    return (passes / (rate_per_s * seconds) if seconds else 0.0), seconds


def called_waits_s(walked: Iterable[Walked]) -> list[float]:
    """From "called" to the pass, of those who were there all the while; in order."""
    return sorted(one.passed_s - one.called_s for one in walked if one.called_s and one.passed_s)


def door(
    name: str, rate_per_s: float, crowd: Sequence[Walked], others: Sequence[Walked], statuses: dict[str, int], *, errors: int, joined_elsewhere: int
) -> Door:
    """Args: crowd: who behaves; others: who comes through the same door; joined_elsewhere: of repeated joins."""
    everybody = [*crowd, *others]
    released_s = [one.released_s for one in everybody if one.released_s]
    end_s = max(released_s, default=0.0)
    lobbies = round(2 * LOBBY_S * rate_per_s)
    share, seconds = used(released_s, crowded(live_spans(everybody, end_s), lobbies), rate_per_s)
    waits_s = called_waits_s(crowd)
    knocked = sum(bool(one.passed_s and one.knocks) for one in crowd)
    places = Counter(one.place for one in everybody if one.place >= 0)
    return Door(
        name=name,
        rate_per_s=rate_per_s,
        most=tuple(most_in(released_s, window_s) for window_s in WINDOWS_S),
        passes=len(released_s),
        used=share,
        used_s=seconds,
        knocks_per_pass=sum(one.knocks for one in crowd) / max(knocked, 1),
        called_s=(percentile(waits_s, 0.5), percentile(waits_s, 0.99)),
        lost=sum(not one.done_s and not one.left_s for one in everybody),
        moved=joined_elsewhere + sum(one.has_moved for one in everybody) + sum(count - 1 for count in places.values()),
        statuses=statuses,
        unanswered=errors,
    )


def door_verdicts(of: Door, void: str) -> list[Verdict]:
    """The rate is kept, and nobody who stays is lost."""
    bounds = [round(of.rate_per_s * window_s + of.rate_per_s * BURST_S) + RECKONING for window_s in WINDOWS_S]
    strange = {status: count for status, count in of.statuses.items() if status.split()[1] not in ("200", "201", "202", "429")}
    return [
        *(
            Verdict(f"{of.name}: at most {bound} passes in any {window_s:g} s", f"{most}", most <= bound, void)
            for window_s, bound, most in zip(WINDOWS_S, bounds, of.most, strict=True)
        ),
        Verdict(f"{of.name}: everybody who stayed or came back got through, {of.passes} in all", f"{of.lost} lost", of.lost == 0, void),
        Verdict(f"{of.name}: everybody keeps a place of their own", f"{of.moved} others", of.moved == 0, void),
        Verdict(f"{of.name}: nothing is answered but 200, 201, 202 and 429", f"{strange or 'nothing'}", not strange, void),
    ]


def used_verdict(of: Door, void: str) -> Verdict:
    """Nobody waits at an idle door."""
    measured = f"{of.used:.3f} of {of.used_s:.0f} s"
    return Verdict(f"{of.name}: at least {USED_MIN} of the rate is used while two lobbies wait", measured, of.used >= USED_MIN and of.used_s > 0, void)


def later_verdict(beside: Door, alone: Door, void: str) -> Verdict:
    """Who behaves gets in about as soon as without those who do not."""
    later_s = beside.called_s[1] - alone.called_s[1]
    return Verdict(
        f"{beside.name}: called → pass, p99, at most {LATER_S_MAX:g} s later than in {alone.name}", f"{later_s:+.2f} s", later_s <= LATER_S_MAX, void
    )


DOOR_HEADINGS: Final = ("part", "passes", "any 1 s", "any 10 s", "used", "for s", "knocks/pass", "called → pass p50/p99 s", "no answer")


def door_cells(of: Door) -> tuple[str, ...]:
    """A line of the table."""
    waits = f"{of.called_s[0]:.2f} / {of.called_s[1]:.2f}"
    return (
        of.name,
        f"{of.passes:,}",
        *(f"{most}" for most in of.most),
        f"{of.used:.3f}",
        f"{of.used_s:.0f}",
        f"{of.knocks_per_pass:.2f}",
        waits,
        f"{of.unanswered}",
    )


# The pace


class Stretch(NamedTuple):
    """A phase of downstream, and how the door followed."""

    takes_per_s: float
    seconds: float
    share: float  # consumed / could take
    best: float  # the same behind a door that knows the change when it comes: before a form is over only those can sign up who had passed
    lag_max: float
    past_door: float  # of it, what was already past the door when the phase began and is more than downstream takes meanwhile
    lag_end: float
    rate_end_per_s: float  # of the door

    @property
    def beyond(self) -> float:
        """Of the lag, what the door let in knowing it."""
        return max(self.lag_max - self.past_door, 0.0)


class Flow(NamedTuple):
    """All that was seen of a closed loop: instants in order."""

    passed_s: Sequence[float]
    signed_up_s: Sequence[float]
    taken: Sequence[Taken]
    rates: Sequence[tuple[float, float]]  # (when, the door's rate)
    form_s: float

    def lag(self, taken: Taken) -> float:
        """Sign-ups that wait."""
        return max(bisect_right(self.signed_up_s, taken.at_s) - taken.consumed, 0)

    def within(self, begin_s: float, end_s: float) -> Sequence[Taken]:
        """What was seen then."""
        times = [taken.at_s for taken in self.taken]
        return self.taken[bisect_right(times, begin_s) : bisect_right(times, end_s)]

    def rate_at(self, at_s: float) -> float:
        """The last that was seen by then."""
        index = bisect_right([when_s for when_s, _ in self.rates], at_s)
        return self.rates[index - 1][1] if index else 0.0


def share_of(taken: Sequence[Taken]) -> float:
    """Consumed of what could have been."""
    could = taken[-1].could_take - taken[0].could_take if taken else 0.0
    return (taken[-1].consumed - taken[0].consumed) / could if could else 0.0


def stretch(flow: Flow, takes_per_s: float, began_s: float, begin_s: float, end_s: float) -> Stretch:
    """What is judged of one phase, which `began_s`."""
    taken = flow.within(begin_s, end_s)
    if len(taken) < 2:
        return Stretch(takes_per_s, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    waiting = flow.lag(taken[0])
    on_way = bisect_right(flow.passed_s, begin_s) - bisect_right(flow.signed_up_s, begin_s)
    too_many = max(on_way - takes_per_s * flow.form_s, 0.0)
    return Stretch(
        takes_per_s,
        taken[-1].at_s - taken[0].at_s,
        share_of(taken),
        _best(flow, taken, began_s + flow.form_s),
        max(map(flow.lag, taken)),
        waiting + too_many,
        flow.lag(taken[-1]),
        flow.rate_at(end_s),
    )


def _best(flow: Flow, taken: Sequence[Taken], known_s: float) -> float:
    """Until `known_s` only those sign up who did; from then on as many as downstream takes."""
    waiting = float(flow.lag(taken[0]))
    could = consumed = 0.0
    for before, now in pairwise(taken):
        allowed = now.could_take - before.could_take
        came = bisect_right(flow.signed_up_s, now.at_s) - bisect_right(flow.signed_up_s, before.at_s)
        waiting += came if now.at_s < known_s else max(allowed, came)
        took = min(waiting, allowed)
        waiting -= took
        could += allowed
        consumed += took
    return consumed / could if could else 0.0


def stretches(flow: Flow, phases: Sequence[Phase], began_s: float, skipped_s: float) -> list[Stretch]:
    """Each phase; of those within `skipped_s` since the beginning only what comes after."""
    ends_s = list(accumulate((phase.seconds for phase in phases), initial=began_s))
    return [
        stretch(flow, phase.per_s, begin_s, max(begin_s, began_s + skipped_s), end_s)
        for phase, (begin_s, end_s) in zip(phases, pairwise(ends_s), strict=True)
        if end_s > began_s + skipped_s
    ]


def best_of(rows: Sequence[Stretch]) -> float:
    """All phases together, at best."""
    could = sum(of.takes_per_s * of.seconds for of in rows)
    return sum(of.best * of.takes_per_s * of.seconds for of in rows) / could if could else 0.0


STRETCH_HEADINGS: Final = (
    "downstream takes/s",
    "seen s",
    "used",
    "could at best",
    "worst lag",
    "past the door already",
    "beyond",
    "lag at the end",
    "door/s at the end",
)


def stretch_cells(of: Stretch) -> tuple[str, ...]:
    """A line of the table."""
    counts = (of.lag_max, of.past_door, of.beyond, of.lag_end)
    return (f"{of.takes_per_s:g}", f"{of.seconds:.0f}", f"{of.share:.3f}", f"{of.best:.3f}", *(f"{count:,.0f}" for count in counts), f"{of.rate_end_per_s:.0f}")
