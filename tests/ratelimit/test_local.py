"""A worker's own buckets: its share, and no more in the long run."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from ratelimit.bucket import Limit
from ratelimit.local import Shares
from ratelimit.policy import Ask, Decision, Policy, Rule

S: Final = 1_000_000
POLICY: Final = Policy("sync", (Rule("all", Limit.per(40, 1, burst=400)), Rule("user", Limit.per(8, 1, burst=16))))
KEYS: Final = (b"all", b"u1")


def test_a_worker_of_four_admits_a_quarter_of_the_burst_then_of_the_rate() -> None:
    shares = Shares(99)
    steps_ms = [(0, True)] * 4 + [(0, False), (499, False), (500, True), (500, False), (1500, True), (1500, True), (1500, False)]
    assert [(at_ms, shares.decide(Ask(POLICY, KEYS), 4, S + at_ms * 1000).granted == 1) for at_ms, _ in steps_ms] == steps_ms
    assert shares.decide(Ask(POLICY, KEYS), 4, S + 1_500_000) == Decision(0, 500_000, 1, 0, "local")


def test_an_ask_above_the_share_passes_when_it_is_full_and_is_paid_for() -> None:
    """Share of the user: 4 at once, 2/s.  Ten tokens take five seconds."""
    shares = Shares(99)
    told = [(0, 10), (0, 1), (0, 10), (499, 1), (500, 1), (5499, 10), (5500, 10)]
    waits = [shares.decide(Ask(POLICY, KEYS, tokens), 4, S + at_ms * 1000).retry_after_us // 1000 for at_ms, tokens in told]
    assert waits == [0, 500, 5000, 1, 0, 1, 0]


def test_a_change_of_workers_changes_the_share_and_forgives_nothing() -> None:
    """What is owed is time: 4.5 s of it when the workers become eight."""
    shares = Shares(99)
    told = [(0, 4, 10), (1000, 4, 1), (1000, 8, 1), (4999, 8, 10), (5000, 8, 10), (5000, 8, 1)]
    waits = [shares.decide(Ask(POLICY, KEYS, tokens), workers, S + at_ms * 1000).retry_after_us // 1000 for at_ms, workers, tokens in told]
    assert waits == [0, 0, 0, 1501, 1500, 0]


def test_a_burst_smaller_than_the_workers_is_one_each() -> None:
    shares = Shares(99)
    policy = Policy("signup", (Rule("user", Limit.per(1, 1, burst=2)),))
    assert [shares.decide(Ask(policy, (b"u1",)), 8, S).retry_after_us for _ in range(2)] == [0, 8 * S]


def test_peek_spends_nothing_and_refund_gives_back() -> None:
    shares = Shares(99)
    for _ in range(4):
        shares.decide(Ask(POLICY, KEYS), 4, S)
    assert shares.decide(Ask(POLICY, KEYS, 1, "peek"), 4, S).retry_after_us == 500_000
    shares.decide(Ask(POLICY, KEYS, 2, "refund"), 4, S)
    assert shares.decide(Ask(POLICY, KEYS, 9, "some"), 4, S).granted == 2


def test_buckets_are_bounded_the_longest_untouched_leaves_and_full_ones_are_none() -> None:
    shares = Shares(3)
    one = Policy("one", (Rule("user", Limit.per(1, 1, burst=1)),))
    told = [shares.decide(Ask(one, (key,)), 1, S).granted for key in (b"a", b"b", b"c", b"a", b"d", b"a", b"b")]
    assert told == [1, 1, 1, 0, 1, 0, 1]
    assert len(shares) == 3
    assert shares.decide(Ask(one, (b"d",), 1, "peek"), 1, 3 * S).retry_after_us == 0
    assert len(shares) == 2


@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 2 * S), st.integers(0, 7), st.integers(1, 16)), max_size=80))
def test_all_workers_together_admit_the_rate_and_the_bound_at_once(workers: int, script: list[tuple[int, int, int]]) -> None:
    each, now_us, admitted, largest = [Shares(99) for _ in range(workers)], S, 0, 1
    for after_us, worker, tokens in script:
        now_us += after_us
        admitted += each[worker % workers].decide(Ask(POLICY, KEYS, tokens), workers, now_us).granted
        largest = max(largest, tokens)
    at_once = workers * max(16 // workers, largest)
    assert admitted <= at_once + 8 * (now_us - S) / S
