"""What the tries of an overload run say: goodput, waits, recovery, costs; and the promises beside them.

Pure.  Goodput is what was *answered* 202 in a step's measured time, within its client's patience:
counted by when it was due, a queue that grows would look like service.  All else is of the requests
that were *due* in that time.  A step in which the generator was late is void: its figures are shown
and no promise is judged by them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.arrivals import CLOSED, GAVE_UP, NO_RETRY_AFTER, Try, most_at_once
from benchmarks.measure import FULL_SHARE, percentile

PATIENCE_S: Final = 5.0
LATE_MAX_S: Final = 0.05  # of the generator, p99: a fifth of the shortest wait the gateway aims at
RECOVERED_SHARE: Final = 0.99
RECOVERY_MAX_S: Final = 5.0
_EXPECTED: Final = frozenset({202, 429, 503, GAVE_UP, CLOSED})
_LOOK_S: Final = 0.1
_REST_MIN_S: Final = 2.0  # of a recovery must be seen to call it one


@dataclass(frozen=True)
class Row:
    """One step, or one kind of request within it."""

    name: str
    offered_per_s: float
    goodput_per_s: float
    share: float  # of what could have been served: the capacity, or all that came where that is less
    success: float  # of the tries
    refused_per_s: float
    unanswered: int  # gave up, or their connection ended
    other: dict[int, int]  # statuses that are neither 202 nor a refusal
    without_retry_after: int
    accepted_ms: tuple[float, float]  # p50, p99
    refused_ms: tuple[float, float]
    in_flight_max: int  # of the admitted
    limits: tuple[float, float]  # least and most the gateway showed meanwhile
    late_ms: float  # of the generator, p99
    void: str


@dataclass(frozen=True)
class Verdict:
    """A promise beside what was measured."""

    text: str
    measured: str
    is_met: bool
    void: str

    @property
    def word(self) -> str:
        return "VOID" if self.void else "met" if self.is_met else "MISSED"


@dataclass(frozen=True)
class Costs:
    """CPU microseconds of the gateway's processes."""

    accepted_us: float
    refused_us: float

    @property
    def ratio(self) -> float:
        return self.refused_us / self.accepted_us

    def goodput_allowed_per_s(self, offered_per_s: float, core_us_per_s: float = 1e6) -> float:
        """What so much of a core can serve of so many when it refuses the rest at this cost."""
        left_us = core_us_per_s - offered_per_s * self.refused_us
        return max(0.0, min(left_us / (self.accepted_us - self.refused_us), offered_per_s))

    def alone(self, offered_per_s: float, had: "Loop") -> float:
        """How much of the core it had the refusing of all of them would take."""
        return offered_per_s * self.refused_us / had.core_us_per_s


@dataclass(frozen=True)
class Loop:
    """What the gateway did in a closed loop."""

    seconds: float
    cpu_us: float
    refused: int
    accepted: int

    @property
    def core_us_per_s(self) -> float:
        """How much of its core it had."""
        return self.cpu_us / self.seconds


def costs(accepting: Loop, refusing: Loop) -> Costs:
    """What each cost, where a few were accepted among the refused."""
    accepted_us = accepting.cpu_us / accepting.accepted
    return Costs(accepted_us, (refusing.cpu_us - refusing.accepted * accepted_us) / refusing.refused)


def due_within(tries: Sequence[Try], begin_s: float, end_s: float) -> list[Try]:
    """Those that were due in that time."""
    return [one for one in tries if begin_s <= one.due_s < end_s]


def row(
    name: str, all_tries: Sequence[Try], window_s: tuple[float, float], capacity_per_s: float, limits: tuple[float, float] = (0.0, 0.0), void: str = ""
) -> Row:
    """Sum up what happened between these two moments."""
    begin_s, end_s = window_s
    seconds = end_s - begin_s
    tries = due_within(all_tries, begin_s, end_s)
    good = [one for one in all_tries if is_good(one) and begin_s <= one.due_s + one.latency_s < end_s]
    refused = [one for one in tries if one.status in (429, 503)]
    unanswered = [one for one in tries if one.status in (GAVE_UP, CLOSED)]
    admitted = [*(one for one in tries if one.status == 202), *unanswered]
    late_s = percentile(sorted(one.late_s for one in tries), 0.99)
    offered_per_s = len(tries) / seconds
    return Row(
        name=name,
        offered_per_s=offered_per_s,
        goodput_per_s=len(good) / seconds,
        share=ratio(len(good) / seconds, min(capacity_per_s, offered_per_s)),
        success=ratio(sum(map(is_good, tries)), len(tries)),
        refused_per_s=len(refused) / seconds,
        unanswered=len(unanswered),
        other=dict(Counter(one.status for one in tries if one.status not in _EXPECTED)),
        without_retry_after=sum(one.retry_after_s == NO_RETRY_AFTER for one in refused),
        accepted_ms=waits_ms([one for one in tries if one.status == 202]),
        refused_ms=waits_ms(refused),
        in_flight_max=most_at_once((one.due_s, one.due_s + one.latency_s) for one in admitted),
        limits=limits,
        late_ms=late_s * 1000,
        void=void or (f"the generator was {late_s * 1000:.0f} ms late" if late_s > LATE_MAX_S else ""),
    )


def is_good(one: Try) -> bool:
    """Accepted, and before the client would have given up."""
    return one.status == 202 and one.latency_s <= PATIENCE_S


def waits_ms(tries: Sequence[Try]) -> tuple[float, float]:
    """p50 and p99."""
    ordered = sorted(one.latency_s * 1000 for one in tries)
    return percentile(ordered, 0.50), percentile(ordered, 0.99)


def ratio(part: float, whole: float) -> float:
    """Their quotient; 0 of nothing."""
    return part / whole if whole else 0.0


def recovered_after_s(tries: Sequence[Try], begin_s: float, end_s: float) -> float | None:
    """Seconds after `begin_s` from which on 0.99 of all requests until `end_s` are answered 202; None: not seen."""
    due = due_within(tries, begin_s, end_s)
    steps = int((end_s - begin_s - _REST_MIN_S) / _LOOK_S)
    for step in range(steps + 1):
        rest = [is_good(one) for one in due if one.due_s >= begin_s + step * _LOOK_S]
        if rest and sum(rest) >= RECOVERED_SHARE * len(rest):
            return step * _LOOK_S
    return None


def generator_void(busy_share: float, starved: int, connections_max: int, error: str) -> str:
    """Why nothing can be said of the gateway; "" where it can."""
    if error:
        return error
    if starved:
        return f"{starved} requests found no connection left, {connections_max} were open"
    return f"the generator was busy {busy_share:.0%} of the time" if busy_share > FULL_SHARE else ""


# Promises


def goodput_verdict(of: Row, target: float) -> Verdict:
    """At least so much of what could have been served."""
    return Verdict(f"{of.name}: goodput at least {target:g} of capacity", f"{of.share:.3f}", of.share >= target, of.void)


def success_verdict(of: Row, target: float) -> Verdict:
    """At least such a share of these requests served."""
    return Verdict(f"{of.name}: at least {target:g} answered 202", f"{of.success:.3f}", of.success >= target, of.void)


def honest_verdict(rows: Sequence[Row]) -> Verdict:
    """Every refusal, in all steps, says when to come back, and nobody is left without an answer."""
    rows = [of for of in rows if not of.void]
    silent = sum(of.without_retry_after for of in rows)
    unanswered = sum(of.unanswered for of in rows)
    strange = sum(sum(of.other.values()) for of in rows)
    measured = f"{silent} without it, {unanswered} never answered, {strange} other statuses"
    return Verdict("every refusal has Retry-After, everybody an answer", measured, silent + unanswered + strange == 0, "")


def recovery_verdict(name: str, after_s: float | None, void: str) -> Verdict:
    """Within five seconds."""
    measured = "not seen" if after_s is None else f"{after_s:.1f} s"
    return Verdict(f"{name}: recovered within {RECOVERY_MAX_S:g} s", measured, after_s is not None and after_s <= RECOVERY_MAX_S, void)


def bound_verdict(text: str, measured: float, bound: float, void: str = "") -> Verdict:
    """At most so much."""
    return Verdict(f"{text}: at most {bound:.3g}", f"{measured:.3g}", measured <= bound, void)


# Words


def percent(share: float) -> str:
    return f"{share:.1%}"


def pair(values: tuple[float, float]) -> str:
    return f"{values[0]:,.0f} / {values[1]:,.0f}"


COLUMNS: Final[tuple[tuple[str, Callable[[Row], str]], ...]] = (
    ("step", lambda of: of.name),
    ("offered/s", lambda of: f"{of.offered_per_s:,.0f}"),
    ("202/s", lambda of: f"{of.goodput_per_s:,.1f}"),
    ("of capacity", lambda of: percent(of.share)),
    ("success", lambda of: percent(of.success)),
    ("503/s", lambda of: f"{of.refused_per_s:,.1f}"),
    ("unanswered", lambda of: str(of.unanswered)),
    ("other", lambda of: " ".join(f"{count}x{status}" for status, count in of.other.items()) or "0"),
    ("no Retry-After", lambda of: str(of.without_retry_after)),
    ("202 p50/p99 ms", lambda of: pair(of.accepted_ms)),
    ("503 p50/p99 ms", lambda of: pair(of.refused_ms)),
    ("in flight max", lambda of: str(of.in_flight_max)),
    ("limit", lambda of: pair(of.limits)),
    ("generator late ms", lambda of: f"{of.late_ms:.0f}"),
    ("", lambda of: f"VOID: {of.void}" if of.void else ""),
)


def table(rows: Sequence[Row]) -> str:
    """The rows beneath their headings."""
    return aligned([[heading for heading, _ in COLUMNS], *([cell(of) for _, cell in COLUMNS] for of in rows)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells beneath their headings; the first column reads from the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]).rstrip() for line in lines
    )


def promises(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """One line each."""
    for verdict in verdicts:
        why = f" ({verdict.void})" if verdict.void else ""
        yield f"{verdict.word:6}  {verdict.text}: {verdict.measured}{why}"
