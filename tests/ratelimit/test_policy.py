"""Several limits as one answer: all or none, which one stood against it, and what newcomers cost."""

from typing import Final

import pytest

from ratelimit.bucket import TOKEN_US_MAX, Limit
from ratelimit.policy import Ask, Decision, Kind, Policy, Rule, decide, divided

FAST: Final = Limit(token_us=10, burst=5)
SLOW: Final = Limit(token_us=100, burst=3)
BOTH: Final = Policy("both", (Rule("fast", FAST), Rule("slow", SLOW, is_identity=True)))
GUARDED: Final = BOTH._replace(newcomers=Limit(token_us=1_000, burst=2))
NOW_US: Final = 10_000


def asked(tokens: int = 1, kind: Kind = "take", policy: Policy = BOTH) -> Ask:
    keys = (b"f", b"s", b"n") if policy.newcomers else (b"f", b"s")
    return Ask(policy, keys, tokens, kind)


# What both buckets owe before, in µs; the ask; the answer; what they owe after
ROWS: Final = [
    ((0, 0), asked(), Decision(1, 0, -1, 2), (10, 100)),
    ((0, 0), asked(3), Decision(3, 0, -1, 0), (30, 300)),
    ((0, 300), asked(), Decision(0, 100, 1, 0), (0, 300)),  # none of the first either
    ((50, 0), asked(), Decision(0, 10, 0, 0), (50, 0)),
    ((50, 300), asked(2), Decision(0, 200, 1, 0), (50, 300)),  # both stand against it: the one that takes longest is told
    ((900, 900), asked(), Decision(0, 100, 1, 0), (50, 300)),  # the clock stepped back: clamped, and kept so
    ((0, 150), asked(3, "some"), Decision(1, 0, -1, 0), (10, 250)),
    ((0, 0), asked(9, "some"), Decision(3, 0, -1, 0), (30, 300)),
    ((0, 250), asked(3, "some"), Decision(0, 50, 1, 0), (0, 250)),  # until one is there
    ((0, 150), asked(3, "peek"), Decision(0, 0, -1, 1), (0, 150)),
    ((0, 250), asked(1, "peek"), Decision(0, 50, 1, 0), (0, 250)),
    ((20, 200), asked(1, "refund"), Decision(0, 0, -1, 2), (10, 100)),
    ((20, 200), asked(3, "refund"), Decision(0, 0, -1, 3), (0, 0)),  # never above the burst
    ((900, 900), asked(1, "refund"), Decision(0, 0, -1, 1), (40, 200)),
]


@pytest.mark.parametrize(("owed_us", "ask", "decision", "after_us"), ROWS)
def test_all_or_none(owed_us: tuple[int, ...], ask: Ask, decision: Decision, after_us: tuple[int, ...]) -> None:
    assert decide(ask, [NOW_US + us for us in owed_us], NOW_US) == (decision, [NOW_US + us for us in after_us])


# The same, with what newcomers owe as third bucket
NEWCOMERS: Final = [
    ((0, 0, 0), asked(policy=GUARDED), Decision(1, 0, -1, 2), (10, 100, 1_000)),
    ((10, 100, 500), asked(policy=GUARDED), Decision(1, 0, -1, 1), (20, 200, 500)),  # its key is there: it costs nothing
    ((0, 0, 2_000), asked(policy=GUARDED), Decision(0, 1_000, 2, 3), (0, 0, 2_000)),
    ((0, 300, 2_000), asked(policy=GUARDED), Decision(0, 100, 1, 0), (0, 300, 2_000)),
    ((50, 0, 0), asked(policy=GUARDED), Decision(0, 10, 0, 0), (50, 0, 0)),  # refused: nothing was made, nothing is charged
    ((0, 0, 0), asked(1, "peek", GUARDED), Decision(0, 0, -1, 3), (0, 0, 0)),
    ((0, 0, 2_000), asked(1, "peek", GUARDED), Decision(0, 1_000, 2, 3), (0, 0, 2_000)),
    ((20, 200, 1_000), asked(2, "refund", GUARDED), Decision(0, 0, -1, 3), (0, 0, 1_000)),  # the key was made
]


@pytest.mark.parametrize(("owed_us", "ask", "decision", "after_us"), NEWCOMERS)
def test_a_key_that_is_made_costs_a_token_of_newcomers(owed_us: tuple[int, ...], ask: Ask, decision: Decision, after_us: tuple[int, ...]) -> None:
    assert decide(ask, [NOW_US + us for us in owed_us], NOW_US) == (decision, [NOW_US + us for us in after_us])


def test_more_keys_than_newcomers_can_ever_have_cost_all_it_has() -> None:
    """Else such a policy would refuse every newcomer for ever."""
    rules = tuple(Rule(name, SLOW, is_identity=True) for name in "abc")
    policy = Policy("p", rules, newcomers=Limit(token_us=1_000, burst=2))
    decision, after_us = decide(Ask(policy, (b"a", b"b", b"c", b"n")), [0] * 4, NOW_US)
    assert decision.granted == 1
    assert after_us[3] == NOW_US + 2_000


def test_a_policy_has_the_burst_of_its_smallest_limit() -> None:
    assert BOTH.burst == 3


def test_a_share_is_rate_and_burst_divided() -> None:
    policy = Policy("p", (Rule("big", Limit(100, 9)), Rule("small", Limit(1_000, 2))), newcomers=Limit(10, 8))
    assert divided(policy, 4) == Policy("p", (Rule("big", Limit(400, 2)), Rule("small", Limit(4_000, 1))), newcomers=Limit(40, 2))
    assert divided(policy, 1) == policy
    assert divided(BOTH, 2).newcomers is None


def test_a_share_of_the_slowest_limit_is_still_a_limit() -> None:
    policy = Policy("p", (Rule("slow", Limit(TOKEN_US_MAX, 1)),))
    assert divided(policy, 4) == policy
