"""Percentiles and budgets; that rates come out of a board right, test_status.py says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrics import BY_NAME, SECONDS_BUCKETS
from gateway.ops.rates import ACKED_WITHIN_S, burn, quantile


def test_the_bound_of_what_is_late_is_a_bucket_of_its_histogram() -> None:
    assert ACKED_WITHIN_S in SECONDS_BUCKETS == BY_NAME["sluicegate_ack_seconds"].buckets


@pytest.mark.parametrize(
    ("counts", "share", "wanted"),
    [
        ([0, 0, 0], 0.5, None),
        ([2, 0, 0], 0.5, 0.5),
        ([0, 4, 0], 0.5, 1.5),
        ([1, 1, 0], 0.5, 1.0),
        ([0, 0, 3], 0.99, 2.0),
        ([99, 1, 0], 0.99, 1.0),
    ],
)
def test_a_quantile_lies_in_its_bucket(counts: list[int], share: float, wanted: float | None) -> None:
    assert quantile((1.0, 2.0), counts, share) == (wanted if wanted is None else pytest.approx(wanted))


@given(st.lists(st.integers(0, 1_000), min_size=len(SECONDS_BUCKETS) + 1, max_size=len(SECONDS_BUCKETS) + 1), st.floats(0.01, 0.99))
def test_a_quantile_grows_with_its_share(counts: list[int], share: float) -> None:
    low, high = quantile(SECONDS_BUCKETS, counts, share), quantile(SECONDS_BUCKETS, counts, min(share * 1.5, 1.0))
    assert (low is None) == (sum(counts) == 0) == (high is None)
    assert low is None or high is None or 0 <= low <= high <= SECONDS_BUCKETS[-1]


@pytest.mark.parametrize(("bad", "total", "wanted"), [(0, 0, None), (0, 10, 0.0), (1, 1_000, 1.0), (10, 1_000, 10.0), (7, 7, 1_000.0)])
def test_a_budget_burns_once_when_all_of_it_is_spent(bad: int, total: int, wanted: float | None) -> None:
    assert burn(bad, total, 0.999) == wanted
