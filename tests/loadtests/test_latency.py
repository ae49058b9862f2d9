"""Latencies: three digits, corrected and not, and a million of them in no time."""

import math
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.judge.latency import ABOVE_MS, COLUMNS_MAX, corrected_ms, curves, heat_maps, percentile_ms, percentiles_ms, uncorrected_ms
from loadtests.recording import Call
from tests.loadtests.observations import call, calls_of, frozen

DIGITS: Final = 1 / 1024 + 1e-9


@given(st.lists(st.floats(0, 3_600_000), min_size=1, max_size=300), st.sampled_from([1.0, 50.0, 90.0, 95.0, 99.0, 99.9]))
def test_a_percentile_is_a_neighbours_to_three_digits(values: list[float], percentile: float) -> None:
    """Between the nearest ranks on both sides: HdrHistogram rounds the rank."""
    ordered = sorted(values)
    rank = percentile / 100 * len(ordered)
    low, high = ordered[max(0, math.floor(rank + 0.5) - 1)], ordered[min(len(ordered) - 1, max(0, math.ceil(rank) - 1))]
    found = percentile_ms(np.array(values), percentile)
    assert low * (1 - DIGITS) - 0.001 <= found <= max(low, high) * (1 + DIGITS) + 0.001


def test_the_worst_is_exact_and_none_is_above_it() -> None:
    values = np.array([1.0, 2.0, 123_456.789])
    assert percentiles_ms(values, [100.0]) == [123_456.789]
    assert percentile_ms(np.array([2.0471]), 99.0) <= 2.0471


def test_of_nothing_nothing_is_known() -> None:
    assert math.isnan(percentile_ms(np.empty(0), 99.0))


def test_corrected_counts_from_when_it_was_meant_and_uncorrected_from_when_it_was_sent() -> None:
    rows = calls_of([call(1.0, done_s=3.0, sent_s=2.5)])
    assert corrected_ms(rows) == pytest.approx(2_000.0)
    assert uncorrected_ms(rows) == pytest.approx(500.0)


def test_a_frozen_server_is_seen_only_by_who_corrects() -> None:
    """5 s of 30 at 100/s: one in six was caught, for 2.5 s on average."""
    (curve,) = curves(frozen().recording.calls)
    at_95 = curve.percentiles.index(95.0)
    assert 3_000 < curve.corrected_ms[at_95] < 4_700
    assert curve.uncorrected_ms[at_95] < 10
    assert curve.call == "POST /v1/syncs"
    assert curve.count == 3_000
    assert curve.corrected_ms == sorted(curve.corrected_ms)


def test_each_call_has_a_curve_of_its_own() -> None:
    rows = calls_of([call(0.0, 0.1), call(0.0, 0.2, call=Call.PLACE)])
    assert [(curve.call, curve.count, round(curve.corrected_ms[-1])) for curve in curves(rows)] == [
        ("POST /v1/syncs", 1, 100),
        ("GET /v1/rooms/…/place", 1, 200),
    ]


def test_a_heat_map_counts_every_request_once() -> None:
    rows = calls_of([call(0.999, 0.001), call(1.0, 0.0099), call(1.5, 0.0101), call(29.0, 600.0)])
    (heat,) = heat_maps(rows, 30.0)
    assert heat.from_s == [float(second) for second in range(30)]
    told = {(column, ABOVE_MS[row]): count for column, counts in enumerate(heat.counts) for row, count in enumerate(counts) if count}
    assert told == {(0, 1.0): 1, (1, 5.0): 1, (1, 10.0): 1, (29, 10_000.0): 1}


def test_a_heat_maps_edges_belong_above_and_a_request_to_when_it_was_meant() -> None:
    rows = calls_of([call(0.0, done_s=0.5), call(0.5, done_s=3.5, sent_s=2.5)])
    (heat,) = heat_maps(rows, 5.0)
    assert heat.counts[0][ABOVE_MS.index(500.0)] == 1
    assert heat.counts[0][ABOVE_MS.index(2_000.0)] == 1


@pytest.mark.parametrize(("seconds", "width_s"), [(120.0, 1.0), (120.5, 2.0), (540.0, 5.0), (3_600.0, 30.0)])
def test_a_heat_map_is_no_wider_than_a_page(seconds: float, width_s: float) -> None:
    (heat,) = heat_maps(calls_of([call(seconds)]), seconds)
    assert len(heat.from_s) <= COLUMNS_MAX
    assert heat.from_s[1] == width_s
    assert sum(map(sum, heat.counts)) == 1


@given(st.lists(st.floats(0, 100_000), max_size=200))
def test_the_same_in_any_order(values: list[float]) -> None:
    array = np.array(values)
    assert np.array_equal(percentiles_ms(array, [50.0, 99.0]), percentiles_ms(array[::-1], [50.0, 99.0]), equal_nan=True)
