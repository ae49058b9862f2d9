"""What a worker answers from memory."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.pace import Pace
from gateway.core.place import (
    REFUSED_MAX,
    Doorman,
    Hold,
    back_s,
    closed_s,
    gate_at,
    hold,
    look,
    people_ahead,
    people_in_line,
    poll_after_s,
    retry_after_s,
    share_of,
    wait_s,
)
from gateway.core.sign import BOUNDS, LOBBY_BOUNDS, Acts, Policy, Sign
from gateway.core.turn import PERSON, DoorClock

S = 1_000_000
NOW_US = 1_700_000_000 * S
POLICY = Policy(token_us_min=4_000)
# 250/s.  3,000 are called, of whom the 750 from 2,250 on are live; 200 are booked; behind stand 64,000, half of them there.
SIGN = Sign(
    at_us=NOW_US,
    clock=DoorClock(PERSON, NOW_US, 4_000),
    gate=3_000,
    head=3_000,
    tail=67_000,
    called=750,
    booked=200,
    called_places=(2_251, *(2_250 + 750 * step // LOBBY_BOUNDS for step in range(1, LOBBY_BOUNDS + 1))),
    waiting=32_750,
    ahead_from=3_000,
    ahead_to=67_000,
    ahead=tuple(500 * step for step in range(BOUNDS + 1)),
    leaving_per_s=0.001,
    gate_per_s=500.0,
    far_us=30 * S,
    passes=2_000,
    passes_counted=2_000,
    signups=1_500,
    form_s=90_000,
    acts=Acts(),
    pace=Pace.opening(250.0, NOW_US),
)


def test_who_joined_since_the_count_is_in_line_too() -> None:
    assert people_in_line(SIGN) == 32_750
    assert people_in_line(SIGN._replace(tail=67_010)) == 32_760
    assert people_in_line(SIGN._replace(ahead_to=0, ahead_from=0, waiting=0, tail=5, passes=0)) == 5


def test_who_is_through_since_the_count_is_not() -> None:
    assert people_in_line(SIGN._replace(passes=2_030)) == 32_720
    assert people_in_line(SIGN._replace(passes=10**6)) == 0


@pytest.mark.parametrize(
    ("place", "ahead"),
    [(0, 200), (2_250, 200), (2_625, 200 + 375), (2_999, 200 + 749), (3_000, 950), (3_500, 950 + 250), (67_000, 32_950), (67_010, 32_960)],
)
def test_people_ahead(place: int, ahead: int) -> None:
    assert abs(people_ahead(SIGN, place) - ahead) <= 2


def test_who_joined_since_is_all_there() -> None:
    newer = SIGN._replace(head=4_000, gate=4_000, tail=70_000)
    assert people_ahead(newer, 69_999) == 950 + 32_000 - 500 + 2_999


@given(st.lists(st.integers(0, 80_000), min_size=2, max_size=2))
def test_nobody_in_front_has_more_people_ahead(two: list[int]) -> None:
    first, second = sorted(two)
    assert people_ahead(SIGN, first) <= people_ahead(SIGN, second)


def test_an_old_signs_gate_moves_on_for_ten_seconds() -> None:
    """Rows of (age in s, places beyond the sign's gate)."""
    for age_s, moved in ((0, 0), (1, 0), (1.5, 250), (3, 1_000), (10, 4_500), (100, 4_500), (-5, 0)):
        assert (age_s, gate_at(SIGN, NOW_US + int(age_s * S))) == (age_s, 3_000 + moved)
    assert gate_at(SIGN._replace(tail=3_100), NOW_US + 5 * S) == 3_100
    assert gate_at(SIGN._replace(clock=SIGN.clock.paused(NOW_US)), NOW_US + 5 * S) == 3_000


def test_the_wait_is_shorter_as_people_leave() -> None:
    p50_s, p90_s = wait_s(SIGN, 25_000)
    assert p90_s == 100
    assert p50_s == pytest.approx(math.log(1 + 0.001 * (25_000 / 1.06) / 250) / 0.001)
    assert wait_s(SIGN._replace(leaving_per_s=0.0), 25_000) == (100, 100)


def test_polls_come_more_often_near_the_turn() -> None:
    """Rows of (people ahead, s); a third of the wait from twelve seconds on."""
    for ahead, after_s in ((0, 1), (900, 1), (1_250, 2.25), (1_750, 4), (2_999, 4), (3_000, 4), (15_000, 20), (10**6, 55)):
        assert (ahead, poll_after_s(POLICY, SIGN, ahead, 1.0)) == (ahead, after_s)
    assert poll_after_s(POLICY, SIGN, 3_000, 0.0) == pytest.approx(0.85 * 4)
    assert poll_after_s(POLICY._replace(poll_budget_per_s=100), SIGN, 10**6, 1.0) == 327


def test_a_cut_or_a_pause_sends_nobody_to_sleep() -> None:
    slow = SIGN._replace(clock=SIGN.clock.with_rate(400_000, NOW_US))
    paused = SIGN._replace(clock=SIGN.clock.paused(NOW_US))
    after_s = look(POLICY, SIGN, 3_500, NOW_US, 0.5).poll_after_s
    assert look(POLICY, slow, 3_500, NOW_US, 0.5).poll_after_s == after_s
    assert look(POLICY, paused, 3_500, NOW_US, 0.5)[0] == "paused"
    assert look(POLICY, paused, 3_500, NOW_US, 0.5).poll_after_s == after_s


def test_a_closed_room_is_told_as_closed_whatever_else_it_is() -> None:
    """With the place, the wait and the next question of a pause: whoever has a place is awake when it opens."""
    shut = SIGN._replace(clock=SIGN.clock.paused(NOW_US), acts=Acts(1, is_paused=True))
    for acts in (Acts(2, is_closed=True), Acts(3, is_paused=True, is_closed=True)):
        closed = shut._replace(acts=acts)
        for place in (2_999, 3_500):
            paused = look(POLICY, shut, place, NOW_US, 0.5)
            assert paused.poll_after_s > 0
            assert look(POLICY, closed, place, NOW_US, 0.5) == paused._replace(state="closed")
    assert Doorman(POLICY, 1).refusal_s(closed, 2, NOW_US, 0.5) == 5


def test_who_may_not_join_comes_back_spread_over_five_minutes() -> None:
    assert [closed_s(share) for share in (0.0, 0.5, 0.999)] == [150, 300, 450]


@pytest.mark.parametrize("acts", [Acts(2, is_paused=True), Acts(2, is_closed=True), Acts(2)])
def test_a_sign_obeys_acts_that_its_store_does_not_know(acts: Acts) -> None:
    for before in (SIGN, SIGN._replace(clock=SIGN.clock.paused(NOW_US), acts=Acts(1, is_paused=True))):
        obeying = before.obeying(acts, NOW_US + S)
        assert (obeying.acts, obeying.clock.is_paused, obeying.tail) == (acts, acts.is_shut, before.tail)
        assert obeying.clock.turn_at(NOW_US + S) == before.clock.turn_at(NOW_US + S)


def test_called_is_told_to_knock_and_does_not_hold_the_lobby_by_looking() -> None:
    called, waiting = (look(POLICY, SIGN, place, NOW_US, 0.5) for place in (2_999, 3_000))
    assert (called.state, called.poll_after_s, called.is_near) == ("called", 0, False)
    assert (waiting.state, waiting.is_near) == ("waiting", True)
    assert waiting.p50_s <= waiting.p90_s == 950 / 250
    assert look(POLICY, SIGN._replace(clock=SIGN.clock.paused(NOW_US)), 2_999, NOW_US, 0.5).is_near


def test_a_refusal_is_clamped_first_and_then_spread() -> None:
    assert retry_after_s(POLICY, SIGN, 2_000, 1_000, 0.5) == 1
    assert retry_after_s(POLICY, SIGN, 2_625, 2 * S, 0.5) == 4
    late = {retry_after_s(POLICY, SIGN, 2_999, 500 * S, share_of(place)) for place in range(100)}
    assert min(late) == 54
    assert max(late) == 66
    assert len(late) >= 10


@given(st.integers(0, 10**9))
def test_a_share_is_the_same_everywhere(place: int) -> None:
    assert 0 <= share_of(place) < 1
    assert share_of(place) == share_of(place)
    assert abs(share_of(place) - share_of(place + 1)) > 0.3  # neighbours do not come together


def test_a_held_answer_is_given_at_its_turn_and_at_most_a_burst_later() -> None:
    turn = PERSON + 250 * PERSON  # in a second
    for after_ms, want in ((0, Hold.WAIT), (999, Hold.WAIT), (1_000, Hold.GIVE), (1_200, Hold.GIVE), (1_201, Hold.LATE)):
        assert (after_ms, hold(POLICY, SIGN.clock, turn, NOW_US + after_ms * 1_000)) == (after_ms, want)


def test_a_cut_and_a_pause_end_what_would_be_held_too_long() -> None:
    turn, now_us = PERSON + 250 * PERSON, NOW_US + S // 2
    cut = SIGN.clock.with_rate(40_000, now_us)
    assert hold(POLICY, cut, turn, now_us) is Hold.END
    assert hold(POLICY, SIGN.clock.with_rate(8_000, now_us), turn, now_us) is Hold.WAIT
    assert 3 <= back_s(cut, turn, now_us, 0.9) < 5  # the turn is in 5 s: back before it
    paused = SIGN.clock.paused(now_us)
    assert hold(POLICY, paused, turn, now_us + 60 * S) is Hold.END
    assert hold(POLICY, paused.resumed(now_us + 60 * S), turn, now_us + 60 * S) is Hold.WAIT
    assert back_s(paused, turn, now_us, 0.0) == 5


# The worker's own refusals


def test_only_so_many_knocks_go_on_between_two_ticks() -> None:
    doorman = Doorman(POLICY, workers=4)
    sent = [place for place in range(2_000, 3_000) if not doorman.refusal_s(SIGN, place, NOW_US, 0.5)]
    assert len(sent) == 94  # 1.5 x 250 / 4, and the one that makes it full
    doorman.ticked()
    assert not doorman.refusal_s(SIGN, 2_999, NOW_US, 0.5)


def test_a_slow_door_still_hears_a_knock() -> None:
    doorman, slow = Doorman(POLICY, workers=8), SIGN._replace(clock=SIGN.clock.with_rate(60 * S, NOW_US))
    assert not doorman.refusal_s(slow, 1, NOW_US, 0.5)
    assert doorman.refusal_s(slow, 2, NOW_US, 0.5) >= 1


def test_who_comes_before_the_retry_after_is_told_the_rest_from_memory() -> None:
    doorman = Doorman(POLICY, workers=1)
    doorman.refused(7, 10, NOW_US)
    assert [doorman.refusal_s(SIGN, 7, NOW_US + at_s * S, 0.5) for at_s in (0, 4, 9)] == [10, 6, 1]
    assert not doorman.refusal_s(SIGN, 7, NOW_US + 10 * S, 0.5)
    assert not doorman.refusal_s(SIGN, 7, NOW_US - 3_600 * S, 0.5), "the room's clock stepped back"


def test_who_is_not_called_gets_the_answer_of_place() -> None:
    doorman = Doorman(POLICY, workers=1)
    assert doorman.refusal_s(SIGN, 50_000, NOW_US, 0.5) == look(POLICY, SIGN, 50_000, NOW_US, 0.5).poll_after_s
    assert doorman.refusal_s(SIGN._replace(clock=SIGN.clock.paused(NOW_US)), 2, NOW_US, 0.5) == 5


def test_what_is_remembered_is_bounded() -> None:
    doorman = Doorman(POLICY, workers=1)
    for place in range(REFUSED_MAX + 1):
        doorman.refused(place, 60, NOW_US)
    assert len(doorman) <= REFUSED_MAX
    assert doorman.refusal_s(SIGN._replace(gate=10**6), REFUSED_MAX, NOW_US, 0.5) == 60


def test_any_hundred_neighbours_are_spread_evenly() -> None:
    for first in (0, 12_345, 1_999_900):
        shares = sorted(share_of(place) for place in range(first, first + 100))
        assert max(after - before for before, after in pairwise([0.0, *shares, 1.0])) < 0.03
