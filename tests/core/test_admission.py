"""Who may pass now, and when the others should come back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.admission import RETRY_AFTER_MAX_S, Load, decide, retry_after_s

spreads = st.floats(0, 1, exclude_max=True)
loads = st.builds(Load, st.integers(0, 2**40), st.floats(0, 1e12), st.integers(0, 2**40))


def code(cost: int, held: int, *, draining: bool = False, stalled: bool = False, bound: int = 100) -> str | None:
    return decide(cost_bytes=cost, in_flight_bytes=held, in_flight_bytes_max=bound, is_draining=draining, is_stalled=stalled)


@pytest.mark.parametrize(
    ("held", "cost", "draining", "stalled", "want"),
    [
        (0, 100, False, False, None),
        (40, 60, False, False, None),  # the bound itself is allowed
        (40, 61, False, False, "overloaded"),
        (0, 101, False, False, "overloaded"),
        (100, 1, False, False, "overloaded"),
        (0, 1, False, True, "not-durable"),
        (100, 1, False, True, "not-durable"),  # Kafka away says more than full
        (0, 1, True, False, "draining"),
        (100, 1, True, True, "draining"),  # the next connection reaches another process: that says most
    ],
)
def test_the_table(held: int, cost: int, draining: bool, stalled: bool, want: str | None) -> None:
    assert code(cost, held, draining=draining, stalled=stalled) == want


def test_who_is_turned_away_by_a_drain_comes_back_at_once() -> None:
    assert retry_after_s("draining", Load(10**9, 1.0, 10**9), 0.9) == 1


@given(loads, spreads)
def test_retry_after_is_between_1_and_30_whole_seconds(load: Load, spread: float) -> None:
    assert retry_after_s("overloaded", load, spread) in range(1, RETRY_AFTER_MAX_S + 1)


@given(loads, loads, spreads)
def test_a_longer_backlog_never_means_a_shorter_wait(load: Load, more: Load, spread: float) -> None:
    longer = Load(load.in_flight_bytes + more.in_flight_bytes, load.drained_bytes_per_s, load.refused_bytes + more.refused_bytes)
    assert retry_after_s("overloaded", longer, spread) >= retry_after_s("overloaded", load, spread)


@given(loads, st.floats(1, 1e6), spreads)
def test_a_faster_drain_never_means_a_longer_wait(load: Load, faster: float, spread: float) -> None:
    quick = load._replace(drained_bytes_per_s=load.drained_bytes_per_s * faster)
    assert retry_after_s("overloaded", quick, spread) <= retry_after_s("overloaded", load, spread)


@given(st.integers(3, 29), spreads)
def test_the_refused_come_back_over_the_time_their_backlog_needs(seconds: int, spread: float) -> None:
    """Held and refused bytes over the rate they go at; rounded up, so never early."""
    load = Load(in_flight_bytes=seconds * 600, drained_bytes_per_s=1_000.0, refused_bytes=seconds * 400)
    waits_s = [retry_after_s("overloaded", load, n / 1_000) for n in range(1_000)]
    assert {*waits_s} == {*range(1, seconds + 1)}
    assert all(abs(waits_s.count(s) - 1_000 / seconds) <= 2 for s in range(1, seconds + 1))
    assert retry_after_s("overloaded", load, spread) >= spread * seconds


def test_even_without_a_backlog_they_are_spread_over_two_seconds() -> None:
    assert {retry_after_s("overloaded", Load(0, 1_000.0, 0), n / 100) for n in range(100)} == {1, 2}


def test_nothing_drains_means_the_longest_spread() -> None:
    assert {retry_after_s("overloaded", Load(1, 0.0, 0), n / 1_000) for n in range(1_000)} == {*range(1, 31)}
    assert retry_after_s("overloaded", Load(2**60, math.ulp(0.0), 0), 0.999) == RETRY_AFTER_MAX_S
