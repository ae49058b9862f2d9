"""The universal scalability law: what it says, and what it does not say of data that show no knee."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.usl import FAR, Usl, fit

LOADS = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128]


def measured(law: Usl, noise: float, seed: int = 1) -> list[float]:
    draw = random.Random(seed)
    return [law.rate(load) * (1 + draw.gauss(0, noise)) for load in LOADS]


@given(st.floats(1, 50_000), st.floats(1.5, 100_000), st.floats(0, 1))
def test_the_peak_stands_where_it_was_put_and_everything_else_is_less(per_s: float, knee: float, contention: float) -> None:
    law = Usl.with_knee(per_s, knee, contention)
    n, x = law.peak()
    assert n == pytest.approx(knee)
    assert x == pytest.approx(per_s)
    assert all(law.rate(knee * share) < per_s for share in (0.5, 0.9, 1.1, 2, 10) if knee * share >= 1)


def test_the_same_shape_for_any_knee() -> None:
    """At five knees it does two fifths of its most, whether the knee is at 50 or at 5,000."""
    shares = [Usl.with_knee(100.0, knee, 0.02).rate(5 * knee) / 100.0 for knee in (50.0, 500.0, 5_000.0)]
    assert shares == pytest.approx([0.39] * 3, abs=0.01)


def test_the_peak_is_the_formulas() -> None:
    law = Usl(100.0, 0.05, 0.0004)
    assert law.peak()[0] == pytest.approx(math.sqrt(0.95 / 0.0004))
    assert law.rate(1) == pytest.approx(100.0)
    assert law.rate(0) == 0


@given(st.floats(0, 1), st.floats(1, 1e5), st.floats(1.001, 10))
def test_without_coherency_more_is_never_less(sigma: float, n: float, times: float) -> None:
    law = Usl(100.0, sigma, 0.0)
    assert law.rate(n * times) >= law.rate(n) * (1 - 1e-12)
    assert law.peak()[0] == math.inf


def test_nobody_is_quicker_than_one_where_each_second_one_is_too_much() -> None:
    assert Usl(100.0, 1.0, 0.5).peak() == (1.0, 100.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_law_is_found_again_in_noise(seed: int) -> None:
    law = Usl(100.0, 0.03, 0.0004)
    found = fit(LOADS, measured(law, 0.02, seed))
    assert found.has_knee, found.says
    assert found.r2 > 0.99
    assert found.n_peak == pytest.approx(law.peak()[0], rel=0.15)
    assert found.x_peak == pytest.approx(law.peak()[1], rel=0.03)
    assert found.usl.lambda_ == pytest.approx(100.0, rel=0.15)
    assert found.n_peak_interval.low < found.n_peak < found.n_peak_interval.high


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 200 fits at least 180 intervals of the most, where 190 should."""
    law = Usl(100.0, 0.03, 0.0004)
    draw, held = random.Random(7), 0
    for _ in range(200):
        rates = [law.rate(load) + draw.gauss(0, 20) for load in LOADS]
        low, high = fit(LOADS, rates).x_peak_interval
        held += low <= law.peak()[1] <= high
    assert 180 <= held <= 199


def test_a_straight_line_has_no_knee() -> None:
    found = fit(LOADS, measured(Usl(100.0, 0.0, 0.0), 0.01))
    assert not found.has_knee
    assert "no knee" in found.says
    assert found.n_peak == math.inf
    assert found.x_peak == pytest.approx(12_800, rel=0.05)


def test_a_knee_beyond_all_that_was_tried_is_not_invented() -> None:
    far = Usl.with_knee(1_000.0, LOADS[-1] * FAR * 1.5)
    found = fit(LOADS, [far.rate(load) for load in LOADS])
    assert not found.has_knee
    assert "were tried" in found.says


def test_what_follows_another_law_has_no_invented_peak() -> None:
    """A server that refuses: the rate stands, and the requests in progress leap from 20 to 3,000."""
    found = fit([2.5, 4, 6.4, 10.2, 3_000, 2_990], [500, 800, 1_280, 2_050, 2_920, 2_910])
    assert not found.has_knee
    assert "no knee is shown" in found.says


@pytest.mark.parametrize(("loads", "rates"), [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3, 0]), ([1, 2, 3, 4], [1, 2, 3]), ([1, 2, 3, 3], [1, 2, 3, 3])])
def test_what_no_law_can_be_found_in_is_refused(loads: list[float], rates: list[float]) -> None:
    with pytest.raises(ValueError, match="want 4 different"):
        fit(loads, rates)


@pytest.mark.parametrize(("per_s", "knee", "contention"), [(0, 10, 0), (1, 1, 0), (1, 10, 10), (1, 10, -1)])
def test_no_law_has_such_a_knee(per_s: float, knee: float, contention: float) -> None:
    with pytest.raises(ValueError, match="knee above 1"):
        Usl.with_knee(per_s, knee, contention)
