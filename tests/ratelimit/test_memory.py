"""Remembered refusals: they say what the store would say, or nothing."""

from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st

from ratelimit.bucket import Limit
from ratelimit.memory import TRUST_US, Refusals
from ratelimit.policy import Ask, Decision, Kind, Policy, Rule, decide

S: Final = 1_000_000
ALL, USER = Rule("all", Limit.per(10, 1, burst=20)), Rule("user", Limit.per(1, 1, burst=5), is_identity=True)
POLICY: Final = Policy("sync", (ALL, USER))
KEYS: Final = (b"all", b"u1")


def refusal(seconds: float, violated: int = 1) -> Decision:
    return Decision(0, int(seconds * S), violated, 0)


def waits(memory: Refusals, *asked: tuple[float, int], keys: tuple[bytes, ...] = KEYS, policy: Policy = POLICY) -> list[float | None]:
    """For each (second, tokens): the seconds that are left, None where the store must be asked."""
    told = [memory.recall(policy, keys, tokens, int(at_s * S)) for at_s, tokens in asked]
    return [one and one.retry_after_us / S for one in told]


def test_a_refusal_holds_until_its_instant_counted_from_when_the_call_left() -> None:
    memory = Refusals(9)
    memory.remember(Ask(POLICY, KEYS), refusal(0.75), 100 * S)
    assert waits(memory, (100, 1), (100.5, 1), (100.75, 1), (200, 1)) == [0.75, 0.25, None, None]


def test_more_tokens_wait_longer_and_fewer_shorter_each_by_a_tokens_time() -> None:
    memory = Refusals(9)
    memory.remember(Ask(POLICY, KEYS, 3), refusal(1.5), 100 * S)
    assert waits(memory, (100, 5), (100, 3), (100, 2), (100, 1)) == [3.5, 1.5, 0.5, None]
    assert waits(memory, (101.5, 3), (101.5, 4), (103.49, 5), (103.5, 5)) == [None, 1.0, 0.01, None]


def test_it_names_the_rule_that_takes_longest_and_what_is_left_of_it() -> None:
    memory = Refusals(9)
    memory.remember(Ask(POLICY, KEYS, 1), refusal(0.05, violated=0), 100 * S)
    memory.remember(Ask(POLICY, KEYS, 3), refusal(1), 100 * S)
    assert memory.recall(POLICY, KEYS, 3, 100 * S) == Decision(0, S, 1, 2, "memory")
    assert memory.recall(POLICY, KEYS, 1, 100 * S) == Decision(0, S // 20, 0, 0, "memory")


def test_it_stands_for_the_key_in_any_policy_and_not_for_its_neighbours() -> None:
    memory = Refusals(9)
    memory.remember(Ask(POLICY, KEYS), refusal(1), 100 * S)
    other = Policy("other", (USER,))
    assert waits(memory, (100, 1), keys=(b"u1",), policy=other) == [1.0]
    assert waits(memory, (100, 1), keys=(b"u2",), policy=other) == [None]
    changed = Policy("changed", (USER._replace(limit=Limit.per(2, 1, burst=5)),))
    assert waits(memory, (100, 1), keys=(b"u1",), policy=changed) == [None]
    assert memory.knows((b"x", b"u1"))
    assert not memory.knows((b"x", b"u2"))


def test_some_is_refused_for_want_of_one() -> None:
    memory = Refusals(9)
    memory.remember(Ask(POLICY, KEYS, 5, "some"), refusal(1), 100 * S)
    assert waits(memory, (100, 1), (100, 2)) == [1.0, 2.0]


def test_what_newcomers_refuse_is_not_remembered() -> None:
    memory = Refusals(9)
    memory.remember(Ask(POLICY._replace(newcomers=Limit(S, 1)), (*KEYS, b"net")), refusal(1, violated=2), 100 * S)
    assert len(memory) == 0


def test_it_is_believed_for_a_minute() -> None:
    slow = Policy("slow", (Rule("user", Limit.per(1, 3600, burst=1)),))
    memory = Refusals(9)
    memory.remember(Ask(slow, (b"u1",)), refusal(3600, violated=0), 100 * S)
    assert waits(memory, (159.5, 1), (160, 1), keys=(b"u1",), policy=slow) == [3540.5, None]
    assert (len(memory), TRUST_US) == (0, 60 * S)


def test_the_oldest_leaves_and_a_new_refusal_makes_young() -> None:
    memory = Refusals(2)
    for name in (b"a", b"b", b"a", b"c"):
        memory.remember(Ask(POLICY, (b"all", name)), refusal(1), 100 * S)
    assert [memory.knows((name,)) for name in (b"a", b"b", b"c")] == [True, False, True]


def test_a_refund_forgets_its_keys_and_doubts_calls_that_were_under_way() -> None:
    memory = Refusals(9)
    memory.remember(Ask(POLICY, (b"all", b"u2")), refusal(1), 100 * S)
    memory.remember(Ask(POLICY, KEYS), refusal(1), 100 * S)
    memory.forget(KEYS, 101 * S)
    assert [memory.knows((key,)) for key in (b"u1", b"u2")] == [False, True]
    memory.remember(Ask(POLICY, KEYS), refusal(1), 101 * S)
    assert not memory.knows(KEYS)
    memory.remember(Ask(POLICY, KEYS), refusal(1), 101 * S + 1)
    assert memory.knows(KEYS)
    memory.forget_all()
    assert len(memory) == 0


steps = st.tuples(
    st.integers(0, 3 * S),  # so long after the one before
    st.integers(0, 40_000),  # so long the call was under way before it was decided
    st.booleans(),  # ours, or another worker's
    st.sampled_from([b"u1", b"u2"]),
    st.integers(1, 5),
    st.sampled_from(["take", "some"]),
)


@given(st.lists(steps, max_size=60))
@example([(0, 0, True, b"u1", 5, "take"), (0, 0, True, b"u1", 2, "take"), (2 * S, 0, True, b"u1", 2, "take")])  # its very instant
@example([(0, 0, True, b"u1", 5, "take"), (0, 40_000, True, b"u1", 1, "take"), (S - 1, 0, True, b"u1", 1, "take")])  # the last µs
def test_it_refuses_only_what_the_store_would_refuse_and_never_for_longer(script: list[tuple[int, int, bool, bytes, int, Kind]]) -> None:
    memory, buckets, now_us = Refusals(9), dict.fromkeys((b"all", b"u1", b"u2"), 0), 100 * S
    for after_us, under_way_us, is_ours, user, tokens, kind in script:
        now_us += after_us
        keys = (b"all", user)
        told = memory.recall(POLICY, keys, 1 if kind == "some" else tokens, now_us) if is_ours else None
        sent_us, now_us = now_us, now_us + (0 if told else under_way_us)
        ask = Ask(POLICY, keys, tokens, kind)
        decision, after = decide(ask, [buckets[key] for key in keys], now_us)
        if told:
            assert (decision.granted, told.granted) == (0, 0)
            assert 0 < told.retry_after_us <= decision.retry_after_us
        elif is_ours and not decision.granted:
            memory.remember(ask, decision, sent_us)
        buckets.update(zip(keys, after, strict=True))
