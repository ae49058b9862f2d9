"""What 1 Hz samples say of a stretch of time: gaps, edges and late samples included."""

import math

import numpy as np
import pytest

from loadtests.judge.samples import by_second, mean, most, share, total
from tests.loadtests.observations import samples

TEN = samples(10, depth=range(10), shed_per_s=2.0)


def test_a_rate_holds_from_the_sample_before_to_its_own() -> None:
    assert total(TEN, "shed_per_s", (0.0, 100.0)) == 20
    assert total(TEN, "shed_per_s", (2.5, 4.0)) == pytest.approx(3.0)
    assert total(TEN, "depth", (1.0, 3.0)) == 1 + 2
    assert mean(TEN, "depth", (1.0, 3.0)) == 1.5


def test_the_edge_of_a_span_belongs_to_the_next() -> None:
    """Samples at 1, 2, 3 … s are 0, 1, 2 …."""
    assert most(TEN, "depth", (0.0, 5.0)) == 3
    assert most(TEN, "depth", (5.0, 5.1)) == 4


def test_gaps_are_left_out() -> None:
    holey = samples(4, depth=[1, math.nan, 3, 4])
    assert mean(holey, "depth", (0.0, 4.0)) == pytest.approx(8 / 3)
    assert most(holey, "depth", (0.0, 4.0)) == 3


def test_of_nothing_nothing_is_known() -> None:
    for found in (total, mean, most):
        assert math.isnan(found(TEN, "redis_ms", (0.0, 10.0)))
        assert math.isnan(found(TEN, "depth", (20.0, 30.0)))
        assert math.isnan(found({}, "depth", (0.0, 10.0)))


def test_a_percentile_is_by_nearest_rank() -> None:
    hundred = samples(100, loop_lag_ms=range(1, 101))
    assert share(hundred, "loop_lag_ms", (0.0, 200.0), 0.99) == 99
    assert math.isnan(share(hundred, "redis_ms", (0.0, 200.0), 0.99))


def test_a_second_has_the_sample_next_to_its_end_and_a_missed_one_none() -> None:
    late = {"at_s": [0.01, 1.01, 1.98, 3.3, 5.8], "depth": [0.0, 1.0, 2.0, 3.0, math.nan]}
    assert np.array_equal(by_second(late, "depth", 7), [1.0, 2.0, 3.0, 3.0, math.nan, math.nan, math.nan], equal_nan=True)
    assert np.isnan(by_second({}, "depth", 3)).all()


def test_a_sample_too_far_away_tells_of_another_second() -> None:
    assert np.array_equal(by_second({"at_s": [1.75], "depth": [1.0]}, "depth", 3), [1.0, 1.0, math.nan], equal_nan=True)
    assert np.isnan(by_second({"at_s": [2.76], "depth": [1.0]}, "depth", 2)).all()
