"""The door's clock: it never runs faster than the rate, whatever is done to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.turn import PERSON, TOKEN_US_MAX, TOKEN_US_MIN, DoorClock, token_us_of

tokens_us = st.integers(TOKEN_US_MIN, TOKEN_US_MAX)
spans_us = st.integers(0, 10**10)


@pytest.mark.parametrize(("rate_per_s", "want_us"), [(250, 4_000), (3, 333_334), (9_999, 101), (100_000, 10), (1 / 60, 60_000_000)])
def test_a_persons_time_is_rounded_up(rate_per_s: float, want_us: int) -> None:
    assert token_us_of(rate_per_s) == want_us


@pytest.mark.parametrize("rate_per_s", [0, -1, 1 / 61, 200_000])
def test_what_no_door_can_do_is_said(rate_per_s: float) -> None:
    with pytest.raises(ValueError, match="want at least one a minute"):
        token_us_of(rate_per_s)


def test_a_morning_of_the_clock() -> None:
    """Rows of (what is done, at s, people by then, when the 100th is due)."""
    clock = DoorClock(0, 0, token_us_of(10))
    for act, at_s, people, due_s in (
        ("look", 4, 40, 10.0),
        ("slower", 5, 50, 55.0),  # 1/s: fifty people are owed fifty seconds
        ("pause", 15, 60, None),
        ("look", 500, 60, None),
        ("resume", 600, 60, 640.0),
        ("faster", 610, 70, 613.0),  # 10/s
    ):
        now_us = at_s * 1_000_000
        if act in {"slower", "faster"}:
            clock = clock.with_rate(token_us_of(1 if act == "slower" else 10), now_us)
        elif act == "pause":
            clock = clock.paused(now_us)
        elif act == "resume":
            clock = clock.resumed(now_us)
        assert (act, clock.turn_at(now_us)) == (act, people * PERSON)
        if due_s is not None:
            assert (act, clock.due_us(100 * PERSON)) == (act, due_s * 1_000_000)


def test_a_rate_that_changes_in_a_pause_counts_from_its_end() -> None:
    clock = DoorClock(0, 0, 1_000_000).paused(0).with_rate(100_000, 5_000_000).resumed(10_000_000)
    assert clock.turn_at(10_000_000) == 0
    assert clock.due_us(10 * PERSON) == 11_000_000


@given(tokens_us, spans_us, st.integers(0, 10**9))
def test_a_turn_has_come_when_it_is_due_and_not_one_us_before(token_us: int, at_us: int, turns: int) -> None:
    clock = DoorClock(PERSON, at_us, token_us)
    due_us = clock.due_us(PERSON + turns)
    assert clock.turn_at(due_us) >= PERSON + turns
    assert turns == 0 or clock.turn_at(due_us - 1) < PERSON + turns


@given(tokens_us, st.lists(st.tuples(spans_us, tokens_us), max_size=8), spans_us)
def test_changes_lose_less_than_a_turn_each_and_gain_nothing(token_us: int, changes: list[tuple[int, int]], span_us: int) -> None:
    """In exact fractions of a person, against what each rate could have let pass."""
    clock, now_us, exact = DoorClock(0, 0, token_us), 0, 0.0
    for gap_us, changed_us in [*changes, (span_us, token_us)]:
        exact += gap_us * PERSON / clock.token_us
        now_us += gap_us
        assert exact - len(changes) - 2 <= clock.turn_at(now_us) <= exact + 1e-3 * (1 + exact * 1e-9)
        clock = clock.with_rate(changed_us, now_us)


@given(tokens_us, spans_us, spans_us, st.integers(-(10**10), 10**10))
def test_a_step_of_the_machines_clock_is_not_followed(token_us: int, at_us: int, span_us: int, step_us: int) -> None:
    clock = DoorClock(5, at_us, token_us)
    assert clock.shifted(step_us).turn_at(at_us + span_us + step_us) == clock.turn_at(at_us + span_us)


@given(tokens_us, spans_us)
def test_all_of_it_is_exact_in_a_double(token_us: int, span_us: int) -> None:
    people, rest_us = divmod(span_us, token_us)
    assert max(rest_us * PERSON, people * PERSON) < 2**53
