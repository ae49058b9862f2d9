"""Seconds become points, and two mornings become two figures."""

import math

import msgspec
import pytest

from loadtests.judge.timeline import TIMELINE
from loadtests.observed import SAMPLED
from loadtests.report import panels
from loadtests.report.panels import LABELS, PANELS, served, thinned
from loadtests.result import Result
from tests.loadtests import results

NAN = math.nan


def goodput(values: list[float], depth: list[float]) -> Result:
    at_s = [float(second) for second in range(len(values))]
    return msgspec.structs.replace(results.broke(), timeline={"at_s": at_s, "downstream_per_s": values, "depth": depth})


def test_every_column_that_is_drawn_exists_and_has_a_name() -> None:
    """One home for names: timeline.py's and observed.py's."""
    known = {*TIMELINE, *SAMPLED}
    assert {name for panel in (*PANELS, panels.CORES) for name in panel.columns} <= known & set(LABELS)
    assert set(LABELS) <= known


def test_of_several_seconds_the_worst_latency_and_the_mean_rate_are_kept() -> None:
    columns = {
        "at_s": [0.0, 1.0, 2.0, 3.0, 4.0],
        "syncs_p99_ms": [1.0, 9.0, NAN, NAN, 3.0],
        "meant": [1.0, 3.0, NAN, 5.0, NAN],
        "workers": [2.0, 1.0, 2.0, 2.0, 2.0],
    }
    thin = thinned(columns, 3)
    assert repr(thin) == repr({"at_s": [0.0, 2.0, 4.0], "syncs_p99_ms": [9.0, NAN, 3.0], "meant": [2.0, 5.0, NAN], "workers": [1.0, 2.0, 2.0]})
    assert thinned({}) == {}


def test_an_hour_has_at_most_600_points() -> None:
    assert len(thinned(results.long().timeline)["at_s"]) == 600


def test_goodput_counts_while_work_waits() -> None:
    """Ten a second while a hundred wait; what trickles in afterwards is no collapse."""
    found = served(goodput([10.0] * 40 + [1.0] * 40, [100.0] * 40 + [0.0] * 40), "downstream_per_s")
    assert found == (10.0, 10.0, 10.0, 40)


def test_a_collapse_is_seen_in_the_worst_half_minute() -> None:
    found = served(goodput([10.0] * 30 + [1.0] * 30, [100.0] * 60), "downstream_per_s")
    assert (found.best, found.worst) == (10.0, 1.0)
    assert found.mean == pytest.approx(5.5)


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_who_measured_nothing_gets_nan(values: list[float]) -> None:
    assert math.isnan(served(goodput(values, [1.0] * len(values)), "downstream_per_s").mean)


def test_a_model_without_the_line_collapses_and_with_it_does_not() -> None:
    assert served(results.missed(), "downstream_per_s").mean < 0.2 * served(results.passed(), "downstream_per_s").mean
