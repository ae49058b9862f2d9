"""Two results of the same kind: what was, what is, and whether that is better.  Pure.

A change within SAME of what it was is called the same: two rehearsals of one commit differ by as much.
"""

import math
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from loadtests.report.figures import UNKNOWN, duration, latency, number, percent
from loadtests.result import Result, SloRow

SAME: Final = 0.05


class Change(NamedTuple):
    """One figure, before and now."""

    what: str
    before: str
    now: str
    change: str  # "+12 %"
    tells: Literal["better", "worse", "same", ""]


def changes(previous: Result, result: Result) -> list[Change]:
    """SLO metrics by phase, then key figures; what only one of them has is left out."""
    return [*_slo(previous, result), *_figures(previous, result)]


def differences(previous: Result, result: Result) -> list[str]:
    """Why the two may not be comparable."""
    pairs = {
        "scenario": (previous.name, result.name),
        "scale": (previous.scale, result.scale),
        "seed": (str(previous.seed), str(result.seed)),
        "arrivals": (previous.meant_sha256[:12], result.meant_sha256[:12]),
        "simulated": (str(previous.is_simulated), str(result.is_simulated)),
        **{f"machine: {name}": (previous.machine.get(name, UNKNOWN), result.machine.get(name, UNKNOWN)) for name in {**previous.machine, **result.machine}},
    }
    return [f"{name}: {before} before, {now} now" for name, (before, now) in pairs.items() if before != now]


def _slo(previous: Result, result: Result) -> Iterator[Change]:
    known = {(row.phase, row.metric): row for row in previous.slo}
    for row in result.slo:
        before = known.get((row.phase, row.metric))
        if before is not None:
            yield _changed(
                f"{row.says} ({'whole rehearsal' if row.phase == 'all' else row.phase})",
                before.measured,
                row.measured,
                before.shown,
                row.shown,
                falls=_falls(row),
            )


def _falls(row: SloRow) -> bool | None:
    """Whether less is better; None: nobody can say, as of a bound on both sides."""
    is_most, is_least = "≤" in row.bound, "≥" in row.bound
    return None if is_most == is_least else is_most


def _figures(previous: Result, result: Result) -> Iterator[Change]:
    before_curves = {curve.call: curve for curve in previous.curves}
    for curve in result.curves:
        before = before_curves.get(curve.call)
        if before is not None:
            was, now = at_percentile(before.percentiles, before.corrected_ms, 99), at_percentile(curve.percentiles, curve.corrected_ms, 99)
            yield _changed(f"{curve.call}, p99", was, now, latency(was), latency(now), falls=True)
    if previous.waits is not None and result.waits is not None:
        was_waits, waits = previous.waits, result.waits
        for what, shown, falls in (
            ("wait_p50_s", duration, True),
            ("wait_p99_s", duration, True),
            ("estimate_error_p50", percent, True),
            ("overtaken_worst_s", duration, True),
            ("door_used", percent, False),
            ("drain_deepest_minute", percent, False),
        ):
            was, now = getattr(was_waits, what), getattr(waits, what)
            yield _changed(WAITS[what], was, now, shown(was), shown(now), falls=falls)
    yield _changed(
        "From the last arrival until all was answered",
        previous.drained_s,
        result.drained_s,
        duration(previous.drained_s),
        duration(result.drained_s),
        falls=True,
    )
    yield _changed("Arrivals sent", previous.honesty.sent, result.honesty.sent, number(previous.honesty.sent), number(result.honesty.sent), falls=None)


WAITS: Final = {
    "wait_p50_s": "Wait in line, median",
    "wait_p99_s": "Wait in line, p99",
    "estimate_error_p50": "Error of the first estimate, median",
    "overtaken_worst_s": "Overtaken at worst, in seconds of the door's rate",
    "called_to_pass_p99_s": "From call to pass, p99",
    "door_used": "Door used while two lobbies waited",
    "most_in_1s": "Most released in 1 s, of what the rate allows",
    "most_in_10s": "Most released in 10 s, of what the rate allows",
    "drain_deepest_minute": "Drain in the deepest minute, of the door's rate",
}


def _changed(what: str, was: float, now: float, was_shown: str, now_shown: str, *, falls: bool | None) -> Change:
    if not (math.isfinite(was) and math.isfinite(now)):
        return Change(what, was_shown, now_shown, "", "")
    share = (now - was) / abs(was) if was else 0.0 if now == was else math.inf * (1 if now > was else -1)
    text = f"{round(share * 100) or 0:{'+' if round(share * 100) else ''}d}\u00a0%" if math.isfinite(share) else "from zero"
    if abs(share) <= SAME:
        return Change(what, was_shown, now_shown, text, "same")
    return Change(what, was_shown, now_shown, text, "" if falls is None else "better" if (share < 0) == falls else "worse")


def at_percentile(percentiles: list[float], values: list[float], wanted: float) -> float:
    """The first value at or above it; nan where there is none."""
    return next((value for percentile, value in zip(percentiles, values, strict=False) if percentile >= wanted), math.nan)
