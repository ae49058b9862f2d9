"""bench_arrivals.py: when a rate counts as kept up with."""

import math
from typing import Any

import pytest

from benchmarks.bench_arrivals import WANTED_PER_S, Row, exit_code, scenario, shown
from benchmarks.command import EXIT_GENERATOR
from loadtests.crowd import shapes
from loadtests.judge.honesty import CPU_SHARE_MAX, LATE_MS_MAX, OFFERED_SHARE_MIN


@pytest.mark.parametrize(("change", "keeps_up"), [({}, True), ({"offered": 0.98}, False), ({"late_p99_ms": 20.1}, False), ({"cpu_share": 0.81}, False)])
def test_late_short_or_busy_is_not_keeping_up(change: dict[str, float], keeps_up: bool) -> None:
    row = Row(4_000, 1.0, 1.0, 20.0, 0.8, 1.0)._replace(**change)  # type: ignore[arg-type]
    assert row.keeps_up is keeps_up
    assert ("could not keep up" in shown([row], 4_000.0)) is not keeps_up


NOT_ALL = "not all were answered 202"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"accepted": 0.0}, NOT_ALL),
        ({"accepted": 0.99}, NOT_ALL),
        ({"accepted": math.nan}, NOT_ALL),
        ({"errors": ("[Errno 24] Too many open files (3 times)",)}, "could not keep up: [Errno 24] Too many open files"),
        ({"late_p99_ms": math.nan}, "could not keep up"),
    ],
)
def test_what_was_refused_or_went_wrong_is_told_and_no_success(change: dict[str, Any], says: str) -> None:
    """A server that answers nothing but 500 is answered at once, and on time."""
    good = Row(WANTED_PER_S, 1.0, 1.0, 2.0, 0.5, 1.0)
    bad = good._replace(**change)
    assert says in shown([good, bad], 4_000.0).splitlines()[2]
    assert [exit_code(rows) for rows in ([good], [good, bad], [good, bad._replace(per_s=WANTED_PER_S + 1)])] == [0, EXIT_GENERATOR, 0]


def test_the_bounds_are_the_verdict_s() -> None:
    row = Row(4_000, OFFERED_SHARE_MIN, 1.0, LATE_MS_MAX, CPU_SHARE_MAX, 1.0)
    assert row.keeps_up


def test_the_scenario_offers_the_rate() -> None:
    assert 3_600 < len(shapes.meant(scenario(4_000, 1.0))) < 4_400
