"""When the store counts as away: rows of (second, what happened, open?, next question)."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from ratelimit.breaker import HOLDS_S, PROBE_S, Breaker

TIMEOUT_S: Final = 0.03

Row = tuple[float, str, bool, float | None]


def play(rows: list[Row]) -> Breaker:
    """Each row: when, "slow", "away", "asked" or "answered <when it was sent>", then whether it is open and when it asks next."""
    breaker = Breaker(TIMEOUT_S)
    for at_s, event, is_open, probe_at_s in rows:
        word, _, sent_s = event.partition(" ")
        if word == "slow":
            breaker.did_fail(at_s, "slow")
        elif word == "away":
            breaker.did_fail(at_s, "away")
        elif word == "asked":
            breaker.did_ask(at_s)
        else:
            breaker.did_answer(at_s, float(sent_s))
        got = breaker.is_open, round(breaker.probe_at_s, 6) if breaker.is_open else None
        assert (at_s, event, *got) == (at_s, event, is_open, probe_at_s)
    return breaker


def test_one_slow_call_opens_it_until_its_answer_and_one_more() -> None:
    breaker = play([
        (10.000, "answered 9.999", False, None),
        (10.030, "slow", True, 10.28),
        (10.045, "answered 10.0", True, 10.045),
        (10.045, "asked", True, 10.295),
        (10.046, "answered 10.045", False, None),
    ])  # fmt: skip
    assert (breaker.trips, breaker.reason, round(breaker.degraded_s(99), 6)) == (1, "ok", 0.016)


def test_a_call_that_left_just_before_and_is_answered_in_time_closes_it() -> None:
    play([(10.03, "slow", True, 10.28), (10.04, "answered 10.02", False, None)])


def test_a_store_that_is_away_is_asked_four_times_a_second() -> None:
    breaker = play([
        (10.00, "away", True, 10.25),
        (10.25, "asked", True, 10.5),
        (10.26, "away", True, 10.51),
        (10.51, "asked", True, 10.76),
        (10.52, "answered 10.51", False, None),
    ])  # fmt: skip
    assert round(breaker.degraded_s(99), 6) == 0.52


def test_who_trips_again_soon_stays_open_longer_each_time_and_forgets_it_when_quiet() -> None:
    play([
        (10.00, "slow", True, 10.25), (10.01, "answered 10.0", False, None),
        (10.10, "slow", True, 10.35), (10.11, "answered 10.1", True, 10.35), (10.35, "answered 10.349", False, None),
        (10.40, "away", True, 10.90), (10.50, "answered 10.0", True, 10.90), (10.91, "answered 10.90", False, None),
        (11.00, "slow", True, 12.00), (12.01, "answered 12.0", False, None),
        (12.10, "slow", True, 13.10), (13.11, "answered 13.1", False, None),
        (18.12, "slow", True, 18.37), (18.13, "answered 18.12", False, None),
    ])  # fmt: skip


def test_the_reason_is_the_latest_and_the_time_open_counts_while_it_lasts() -> None:
    breaker = play([(10.0, "slow", True, 10.25), (11.0, "away", True, 11.25)])
    assert (breaker.reason, breaker.degraded_s(12.5)) == ("away", 2.5)


@given(st.lists(st.floats(0.001, 0.6), min_size=1, max_size=60))
def test_a_store_that_comes_and_goes_trips_it_hardly_more_than_once_a_second(up_s: list[float]) -> None:
    """Each time it is back for so long; every question is answered at once."""
    breaker = Breaker(TIMEOUT_S)
    now_s = 100.0
    for span_s in up_s:
        breaker.did_fail(now_s, "slow")
        while breaker.is_open:
            # It is asked when it is due, and back within the hold.
            assert now_s < breaker.probe_at_s <= now_s + max(PROBE_S, HOLDS_S[-1])
            now_s = breaker.probe_at_s
            breaker.did_ask(now_s)
            breaker.did_answer(now_s, now_s)
        now_s += span_s
    assert breaker.trips <= len(HOLDS_S) + (now_s - 100.0)
