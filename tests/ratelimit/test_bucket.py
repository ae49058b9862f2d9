"""One bucket: what it admits, when it says it will, and that no clock makes it admit more."""

import math
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratelimit.bucket import CAPACITY_US_MAX, TOKEN_US_MAX, Limit, give_back, remaining, take

limits = st.builds(Limit, st.integers(1, 5_000), st.integers(1, 12))
# (µs since the step before, tokens)
schedules = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 12)), max_size=60)
anywhere = st.integers(-(10**6), 10**6)


def test_burst_then_rate() -> None:
    """Three at once, then one per 100 ms; a refusal names the exact wait."""
    limit, full_at_us = Limit.per(10, period_s=1, burst=3), 0
    steps_ms = [(900, 0), (900, 0), (900, 0), (900, 100), (999, 1), (1000, 0), (1000, 100)]
    steps_ms += [(0, 100), (100, 0)]  # the clock stepped back a second: one token's wait, kept
    for at_ms, want_ms in steps_ms:
        verdict = take(limit, full_at_us, at_ms * 1000)
        assert (at_ms, verdict.retry_after_us) == (at_ms, want_ms * 1000)
        full_at_us = verdict.full_at_us


def test_several_tokens_wait_for_all_of_them() -> None:
    limit = Limit(token_us=100, burst=5)
    full_at_us = take(limit, 0, 1_000, 3).full_at_us
    assert full_at_us == 1_300
    assert take(limit, full_at_us, 1_000, 4) == (1_300, 200)
    assert take(limit, full_at_us, 1_200, 4) == (1_700, 0)


def test_no_tokens_always_pass() -> None:
    assert take(Limit(100, 1), 1_100, 1_000, 0) == (1_100, 0)


@pytest.mark.parametrize(
    ("tokens", "period_s", "burst", "want"),
    [
        (10, 1, 3, Limit(100_000, 3)),
        (9_999, 1, 1, Limit(101, 1)),  # 100.01: rounded down, it would admit 10,000
        (10_000, 1, 1, Limit(100, 1)),
        (3, 60, 3, Limit(20_000_000, 3)),
        (0.1, 1, 1, Limit(10_000_000, 1)),
        (1_000_000, 1, 1, Limit(1, 1)),
        (1, 7 * 86_400, 50, Limit(TOKEN_US_MAX, 50)),
        (1_000_000, 1, CAPACITY_US_MAX, Limit(1, CAPACITY_US_MAX)),
    ],
)
def test_a_token_has_its_time_rounded_up(tokens: float, period_s: float, burst: int, want: Limit) -> None:
    assert Limit.per(tokens, period_s, burst) == want


@pytest.mark.parametrize(
    ("tokens", "period_s", "burst"),
    [
        (0, 1, 1),
        (-1, 1, 1),
        (1, 0, 1),
        (1, -1, 1),
        (1_000_001, 1, 1),
        (math.inf, 1, 1),
        (math.nan, 1, 1),
        (1, math.inf, 1),
        (1, math.nan, 1),
        (1, 7 * 86_400 + 1, 1),
        (1, 1, 0),
        (1, 7 * 86_400, 60),
        (1_000_000, 1, CAPACITY_US_MAX + 1),
    ],
)
def test_what_no_bucket_can_be_is_said(tokens: float, period_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match=r"want at most one per µs, .* 1 <= burst"):
        Limit.per(tokens, period_s, burst)


@given(limits, schedules)
@example(Limit.per(9_999, period_s=1, burst=1), [(101, 1), (100, 1), (1, 1), (101, 1)])
def test_no_window_has_more_than_burst_and_rate(limit: Limit, schedule: list[tuple[int, int]]) -> None:
    """In exact integers: admitted x token_us <= capacity + window, whatever window one looks at."""
    full_at_us, admitted = 0, []
    for now_us, tokens in zip(accumulate(gap_us for gap_us, _ in schedule), (min(tokens, limit.burst) for _, tokens in schedule), strict=True):
        full_at_us, retry_after_us = take(limit, full_at_us, now_us, tokens)
        if retry_after_us == 0:
            admitted.append((now_us, tokens))
    for first, (from_us, _) in enumerate(admitted):
        total = 0
        for until_us, tokens in admitted[first:]:
            total += tokens
            assert total * limit.token_us <= limit.capacity_us + until_us - from_us


@given(limits, anywhere, anywhere, st.integers(1, 12))
def test_refused_now_and_one_us_too_early_and_admitted_in_time(limit: Limit, full_at_us: int, now_us: int, tokens: int) -> None:
    tokens = min(tokens, limit.burst)
    kept_us, retry_after_us = take(limit, full_at_us, now_us, tokens)
    if retry_after_us:
        assert take(limit, kept_us, now_us + retry_after_us - 1, tokens).retry_after_us == 1
        assert take(limit, kept_us, now_us + retry_after_us, tokens).retry_after_us == 0


@given(limits, anywhere, anywhere)
@example(Limit(100, 3), 10**6, 0)
def test_a_clock_that_stepped_back_costs_at_most_one_refill(limit: Limit, full_at_us: int, now_us: int) -> None:
    """And what is stored is clamped, on a refusal too: the old clock is forgotten."""
    kept_us, retry_after_us = take(limit, full_at_us, now_us, limit.burst)
    assert retry_after_us <= limit.capacity_us
    assert kept_us <= now_us + limit.capacity_us


@given(limits, anywhere, anywhere, st.integers(1, 100))
def test_what_comes_back_never_makes_more_than_the_burst(limit: Limit, full_at_us: int, now_us: int, tokens: int) -> None:
    had = remaining(limit, full_at_us, now_us)
    full_at_us = give_back(limit, full_at_us, now_us, tokens)
    assert remaining(limit, full_at_us, now_us) == min(had + tokens, limit.burst)
    assert now_us <= full_at_us <= now_us + limit.capacity_us


@given(limits, st.integers(0, 10**6), st.integers(1, 12))
def test_taken_and_given_back_is_as_before(limit: Limit, now_us: int, tokens: int) -> None:
    tokens = min(tokens, limit.burst)
    assert give_back(limit, take(limit, 0, now_us, tokens).full_at_us, now_us, tokens) == now_us


@given(limits, anywhere, anywhere)
def test_what_remains_can_be_taken_and_not_one_more(limit: Limit, full_at_us: int, now_us: int) -> None:
    left = remaining(limit, full_at_us, now_us)
    assert 0 <= left <= limit.burst
    assert take(limit, full_at_us, now_us, left).retry_after_us == 0
    if left < limit.burst:
        assert take(limit, full_at_us, now_us, left + 1).retry_after_us > 0
