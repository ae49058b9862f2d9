"""Where things stand in a chart, and where they do not."""

import math
import re

import pytest

from loadtests.report import charts
from loadtests.report.charts import Axis, Line, Span
from loadtests.report.figures import clock, duration, latency, number, plain, said

NAN = math.nan
UNIT = Axis(0.0, 1.0, [(0.0, "0"), (1.0, "1")])
MINUTE = charts.time_axis(0.0, 60.0)


@pytest.mark.parametrize(
    ("ys", "path"),
    [
        ([0.0, 1.0], "M0 400l1200-400"),
        ([NAN, NAN], ""),
        ([0.5, NAN], "M0 200h0"),
        ([NAN, 0.5], "M1200 200h0"),
        ([0.0, NAN, 1.0], "M0 400h0M1200 0h0"),
        ([0.0, 0.0, NAN, 1.0, 1.0], "M0 400l300 0M900 0l300 0"),
        ([math.inf, 1.0], "M1200 0h0"),
    ],
)
def test_nan_breaks_a_line(ys: list[float], path: str) -> None:
    xs = [place / (len(ys) - 1) for place in range(len(ys))]
    drawn = charts.lines(xs, [Line("one", 1, ys)], UNIT, UNIT, "says")
    assert re.findall(r'class="s1" d="([^"]*)"', drawn) == [path]


@pytest.mark.parametrize(
    ("values", "ticks"), [([], [0, 0.5, 1]), ([NAN], [0, 0.5, 1]), ([0.0], [0, 0.5, 1]), ([59], [0, 20, 40, 60]), ([1687.0], [0, 1000, 2000])]
)
def test_an_axis_goes_from_zero_to_a_round_number(values: list[float], ticks: list[float]) -> None:
    assert [value for value, _ in charts.linear_axis(values, number).ticks] == ticks


def test_a_logarithm_has_no_zero() -> None:
    axis = charts.log_axis([0.0, NAN, 3.0, 2_000.0], latency)
    assert [text for _, text in axis.ticks] == ["1\u00a0ms", "10\u00a0ms", "100\u00a0ms", "1\u00a0s", "10\u00a0s"]
    assert axis.at(0.0) == 0.0


def test_labels_that_would_touch_on_a_phone_get_rows_of_their_own() -> None:
    names = [Span(0, 3, "first-half-hour", "phase"), Span(3, 30, "morning", "phase"), Span(55, 60, "drain-to-the-end", "phase")]
    rows = charts.packed(names, MINUTE)
    assert sum(len(row) for row in rows) == 3
    assert names[0] not in rows[1]
    assert names[1] not in rows[0]


def test_an_instant_can_be_seen() -> None:
    assert 'width="3"' in charts.spans([[Span(5, 5, "worker.kill", "fault")]], MINUTE, "says")


def test_many_faults_at_one_instant_are_drawn_once() -> None:
    drawn = charts.lines([0.0], [], MINUTE, UNIT, "says", bands=[Span(5, 6, "a", "fault")] * 50)
    assert re.findall(r'class="band" d="([^"]*)"', drawn) == ["M100 0h20v400H100z"]


def test_how_figures_are_written() -> None:
    assert [number(value) for value in (NAN, None, 0, 0.001, 0.123, 12.34, 1234.5, -5.0)] == ["—", "—", "0", "0.001", "0.12", "12.3", "1,234", "-5"]
    assert [latency(value) for value in (999.0, 1000.0, 8_210.0, NAN)] == ["999\u00a0ms", "1\u00a0s", "8.21\u00a0s", "—"]
    assert [duration(value) for value in (119.0, 131.2, 7_260.0, NAN)] == ["119\u00a0s", "2\u00a0min 11\u00a0s", "2\u00a0h 01\u00a0min", "—"]
    assert [clock(value) for value in (0.0, 61.0, 3_600.0, -5.0, NAN)] == ["0:00", "1:01", "1:00:00", "−0:05", "—"]


def test_what_others_wrote_is_short_and_harmless() -> None:
    assert said("<a href='x'>\x00\ud800") == "&lt;a href=&#x27;x&#x27;&gt;\ufffd\ufffd"
    assert len(plain("x" * 10_000)) == 600
