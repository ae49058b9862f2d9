"""The door's rate and what it let through: at the bound and one beyond it, with a rate that changes, and who was overtaken."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.line_report import crowded, live_spans
from benchmarks.people import Walked
from gateway.core.pace import Reason
from gateway.pacer import REASON_INDEX
from loadtests.judge import line as lines
from loadtests.judge.line import Line, Span, line_of
from loadtests.result import Mark
from tests.loadtests.observations import BEGAN_S, observed, person, samples, steady_line

WHOLE: Span = (0.0, 1_000.0)


def line(people: Sequence[Walked], rate: float | Sequence[float] = 10.0, seconds: int = 40, marks: Sequence[Mark] = (), **over: Any) -> Line:
    sampled = samples(seconds, door_per_s=rate, door_reason=over.pop("reason", 8.0))
    found = line_of(observed(people=people, samples=sampled, ended_s=float(seconds), marks=list(marks), **over))
    assert found is not None
    return found


def released(at_s: Sequence[float]) -> list[Walked]:
    return [person(place, 0.001, instant) for place, instant in enumerate(at_s)]


def test_another_pass_after_one_that_expired_counts_for_the_door() -> None:
    """Both were let through it."""
    people = [*released([5.0]), person(1, 0.001, 5.2, released_again=[BEGAN_S + 5.4, BEGAN_S + 5.6])]
    assert lines.most_in(line(people), 1.0, WHOLE).passes == 4


def test_nobody_in_line_is_no_line() -> None:
    assert line_of(observed(people=[Walked(), Walked(failed="422")])) is None


def test_instants_are_of_the_rehearsals_clock_and_never_is_nan() -> None:
    of = line([person(3, 1.5, 4.0, estimated_s=2.5), person(-1, 0.0), person(4, 1.0, estimated_s=0.0)])
    assert of.joined_s[0] == 1.5
    assert of.released_s[0] == 4.0
    assert of.estimated_s[[0, 2]].tolist() == [2.5, 0.0]
    assert np.isnan([of.joined_s[1], of.passed_s[1], of.estimated_s[1], of.left_s[0]]).all()


# The rate


def test_a_sample_holds_until_the_next_and_a_paused_door_has_no_rate() -> None:
    told, _ = lines.rates(samples(4, door_per_s=[10, 20, 20, 40], door_reason=[8, 8, 0, 8]), [], 5.0)
    assert told is not None
    assert told.at(np.array([0.5, 1.5, 2.5, 3.5, 4.5])).tolist() == [10.0, 10.0, 20.0, 0.0, 40.0]
    assert told.within(np.array([1.0, 2.5]), np.array([3.0, 3.5])) == pytest.approx([30.0, 10.0])


def test_a_closed_door_has_no_rate_either() -> None:
    told, _ = lines.rates(samples(3, door_per_s=[10, 20, 20], door_reason=[8, 9, 8]), [], 4.0)
    assert told is not None
    assert told.at(np.array([1.5, 2.5, 3.5])).tolist() == [10.0, 0.0, 20.0]
    assert [float(REASON_INDEX[reason]) for reason in (Reason.PAUSED, Reason.CLOSED)] == list(lines.SHUT)


def test_a_rate_that_nobody_sampled_is_none_and_a_gap_is_the_last() -> None:
    assert lines.rates(samples(4), [], 4.0) == (None, None)
    told, _ = lines.rates(samples(4, door_per_s=[10, math.nan, math.nan, 40]), [], 4.0)
    assert told is not None
    assert told.at(np.array([2.5, 3.5])).tolist() == [10.0, 10.0]


def test_what_is_allowed_knows_neither_when_a_change_came_nor_how_soon_it_was_heard() -> None:
    """A rise may have come just after the sample before; a cut is heard a tick later.  10, 40 from the sample at 3 s on, 10 from that at 5 s on."""
    _, allowed = lines.rates(samples(8, door_per_s=[10, 10, 40, 40, 10, 10, 10, 10]), [], 8.0)
    assert allowed is not None
    at = allowed.at(np.array([1.99, 2.01, 4.99, 5.24, 5.26]))
    assert at.tolist() == [10.0, 40.0, 40.0, 40.0, 10.0]


def test_while_some_have_lost_redis_twice_is_allowed() -> None:
    """DESIGN promise 5: and so long as slots that were given meanwhile are released."""
    marks = [Mark("Redis frozen", 10.0, 12.0), Mark("Kafka frozen", 30.0, 31.0)]
    _, allowed = lines.rates(samples(40, door_per_s=10.0), marks, 40.0)
    assert allowed is not None
    assert allowed.at(np.array([9.9, 10.1, 12.5, 16.9, 17.1, 30.5])).tolist() == [10.0, 20.0, 20.0, 20.0, 10.0, 10.0]


# Windows


@pytest.mark.parametrize("window_s", [1.0, 10.0])
def test_at_its_rate_the_door_is_within_its_bound_and_one_more_is_beyond(window_s: float) -> None:
    """10/s: 10 in a second, 2 of the burst, 2 who were released late and 1 by reckoning; 100 in ten."""
    bound = round(10 * window_s) + 5
    at_s = [5.0 + number * (window_s - 0.001) / bound for number in range(bound)]
    worst = lines.most_in(line(released(at_s)), window_s, WHOLE)
    assert (worst.passes, worst.beyond) == (bound, 0)
    assert 0.99 < worst.share <= 1
    worst = lines.most_in(line(released([*at_s, at_s[-1]])), window_s, WHOLE)
    assert (worst.passes, worst.beyond) == (bound + 1, 1)
    assert worst.share > 1


def test_a_worker_that_woke_up_late_is_no_door_too_wide() -> None:
    """8/s: a slot just before the ten seconds, whose pass was released within them; seen on a busy machine."""
    slots = [4.999, *(5.0 + number * 9.99 / 82 for number in range(82))]
    at_s = [5.001, *slots[1:]]
    assert lines.most_in(line(released(at_s), 8.0), 10.0, WHOLE).beyond == 0


def test_a_window_is_half_open() -> None:
    """Of two passes just a second apart only one is within a second."""
    assert lines.most_in(line(released([5.0, 5.5, 6.0])), 1.0, WHOLE).passes == 2


@given(st.floats(0.5, 500), st.integers(1, 300), st.floats(0, 2.5), st.floats(0, 3))
def test_what_the_doors_own_arithmetic_lets_in_is_within(rate: float, count: int, idle_s: float, from_s: float) -> None:
    """GCRA with a burst of 0.2 s, knocked at without pause, and again after some idle time."""
    at_s, tat = [], 0.0
    for number in range(count):
        now_s = from_s + (idle_s if number >= count // 2 else 0.0)
        slot = max(tat, now_s)
        at_s.append(max(now_s, slot - 0.2))
        tat = slot + 1 / rate
    seconds = int(max(at_s)) + 2
    of = line(released([instant + 0.001 for instant in at_s]), rate, seconds=seconds)
    for window_s in (1.0, 10.0):
        assert lines.most_in(of, window_s, (0.0, math.inf)).beyond == 0


def test_a_changing_rate_is_summed_over_the_window() -> None:
    """10/s and from the sample at 20 s on 100/s: 50 passes in a second are too many before, not after."""
    rate = [10.0] * 19 + [100.0] * 21
    burst = [number / 100 for number in range(50)]
    assert lines.most_in(line(released([10.0 + at for at in burst]), rate), 1.0, WHOLE).beyond == 50 - 15
    assert lines.most_in(line(released([25.0 + at for at in burst]), rate), 1.0, WHOLE).beyond == 0
    # Half of the window lies before the rise: 5 + 50, and the burst of the highest rate.
    assert lines.bounds(_allowed(line(released([1.0]), rate)), np.array([18.5]), 1.0) == pytest.approx([5 + 50 + 40 + 1])


def test_a_window_that_only_touches_the_higher_rate_has_its_burst() -> None:
    of = line(released([1.0]), [10.0] * 19 + [100.0] * 21)  # allowed from 19 s on
    assert lines.bounds(_allowed(of), np.array([18.02]), 1.0) == pytest.approx([9.8 + 2 + 40 + 1])
    assert lines.bounds(_allowed(of), np.array([17.98]), 1.0) == pytest.approx([10 + 4 + 1])


def test_outside_of_the_grid_it_is_as_at_its_ends() -> None:
    told, _ = lines.rates(samples(4, door_per_s=[10, 20, 20, 40]), [], 4.0)
    assert told is not None
    assert told.within(np.array([-2.0, 3.5, 5.0]), np.array([0.5, 6.0, 7.0])) == pytest.approx([25.0, 50.0, 40.0])
    assert told.at(np.array([-1.0, 9.0])).tolist() == [10.0, 20.0]


def _allowed(of: Line) -> lines.Grid:
    assert of.allowed is not None
    return of.allowed


def test_only_passes_of_the_span_count() -> None:
    of = line(released([5.0] * 20 + [25.0]))
    assert lines.most_in(of, 1.0, (10.0, 40.0)).passes == 1
    assert math.isnan(lines.most_in(of, 1.0, (30.0, 40.0)).share)


# Use of the door


def test_a_door_is_used_in_full() -> None:
    of = line(steady_line(300, 10.0))
    assert lines.used(of, (1.0, 20.0)) == pytest.approx(1.0, abs=0.01)
    assert lines.per_s(of, (5.0, 15.0)) == pytest.approx(10.0)
    assert lines.deepest_minute(of, WHOLE) != lines.deepest_minute(of, WHOLE)  # no minute of it


def test_after_the_end_nothing_is_known() -> None:
    of = line(steady_line(300, 10.0))
    assert math.isnan(lines.per_s(of, (40.0, 50.0)))
    assert math.isnan(lines.used(of, (40.0, 50.0)))


def test_half_used_is_half() -> None:
    assert lines.used(line(steady_line(300, 5.0)), (1.0, 20.0)) == pytest.approx(0.5, abs=0.01)


def test_while_less_than_two_lobbies_wait_nobody_is_to_blame() -> None:
    """10/s: two lobbies are 60 people."""
    assert math.isnan(lines.used(line(steady_line(59, 5.0)), WHOLE))
    assert lines.used(line(steady_line(61, 1.0)), WHOLE) == pytest.approx(0.1, abs=0.1)


def test_the_pass_that_ends_a_crowd_is_the_crowds() -> None:
    """Sixty people are two lobbies, until the first of them goes in, a second later than the door's rate allows and ten passes short."""
    people = [person(place, 10.0, 11.02 + place / 10) for place in range(60)]
    assert lines.used(line(people), WHOLE) == pytest.approx(1 / 10.5, rel=0.05)


def test_a_shut_door_is_not_idle() -> None:
    of = line(steady_line(1_000, 5.0), seconds=100, reason=0.0)
    assert math.isnan(lines.used(of, WHOLE))
    assert math.isnan(lines.deepest_minute(of, WHOLE))


def test_a_pass_before_a_shut_door_weighs_as_by_the_slowest_rate() -> None:
    """Paused from the sample at 20 s on, at 4/s before, at 10/s at first."""
    reason = [8.0] * 19 + [0.0] * 21
    of = line([person(0, 0.01, 35.0), person(1, 0.01, 30.0)], [10.0] * 10 + [4.0] * 30, reason=reason)
    assert lines.overtaken_s(of)[0] == pytest.approx(0.25)
    assert np.isnan(lines.overtaken_s(line(steady_line(3, 1.0), reason=0.0))).all()


@given(st.lists(st.tuples(st.floats(0.01, 30), st.floats(0.1, 9), st.booleans()), min_size=1, max_size=60))
def test_live_are_those_of_line_report(spans: list[tuple[float, float, bool]]) -> None:
    """Wherever the grid sees n people all through a cell, `crowded` does too."""
    people = [
        person(place, from_s, 0.0 if leaves else from_s + for_s, left_s=from_s + for_s if leaves else 0.0)
        for place, (from_s, for_s, leaves) in enumerate(spans)
    ]
    of = line(people)
    least = max(1, int(of.live.max()))
    cells = np.flatnonzero(of.live >= least)
    busy = crowded(live_spans(people, 1_000_040.0), least)
    for cell in cells if of.live.max() else []:
        begin_s, until_s = cell * lines.STEP_S + 1_000_000, (cell + 1) * lines.STEP_S + 1_000_000
        assert any(from_s <= begin_s + 1e-6 and until_s <= to_s + 1e-6 for from_s, to_s in busy)


def test_the_deepest_minute_is_of_the_time_with_the_most_people() -> None:
    """First a minute of full use before a short line, then a minute at half before a long one."""
    early = [person(place, 0.01, 1.0 + place / 10) for place in range(670)]
    late = [person(670 + place, 69.0, 69.2 + place / 5) for place in range(2_000)]
    of = line([*early, *late], 10.0, seconds=140)
    assert lines.deepest_minute(of, (0.0, 62.0)) == pytest.approx(1.0, abs=0.02)
    assert lines.deepest_minute(of, (0.0, 140.0)) == pytest.approx(0.5, abs=0.02)


def test_a_line_of_less_than_a_minute_has_none() -> None:
    assert math.isnan(lines.deepest_minute(line(steady_line(400, 10.0), seconds=59), (0.0, 59.0)))
    of = line(steady_line(1_000, 10.0), seconds=70)
    assert lines.deepest_minute(of, (1.0, 61.0)) == pytest.approx(1.0, abs=0.02)
    assert math.isnan(lines.deepest_minute(of, (1.0, 60.9)))


# Overtaking


def test_in_order_nobody_is_overtaken() -> None:
    assert lines.overtaken_s(line(steady_line(300, 10.0))).max() == 0


def test_who_is_there_is_overtaken_by_each_later_place_that_goes_first() -> None:
    """Three later ones at 10/s: 0.3 s of the door's rate."""
    of = line([person(0, 0.01, 5.0), *(person(place, 0.01, 1.0 + place / 10) for place in (1, 2, 3)), person(4, 0.01, 6.0)])
    assert lines.overtaken_s(of) == pytest.approx([0.3, 0, 0, 0, 0])


@pytest.mark.parametrize(("over", "seconds"), [({"left_s": 2.05}, 0.1), ({"away": [(1.95, 30.0)]}, 0.0), ({"away": [(2.05, 2.15)]}, 0.2), ({}, 0.3)])
def test_only_presence_counts(over: dict[str, Any], seconds: float) -> None:
    """Later ones are let in at 2.0, 2.1 and 2.2 s."""
    of = line([person(0, 0.01, **over), *(person(place, 0.01, 1.9 + place / 10) for place in (1, 2, 3))])
    assert lines.overtaken_s(of)[0] == pytest.approx(seconds)


def test_who_was_let_in_and_heard_of_it_late_was_not_overtaken() -> None:
    of = line([person(0, 0.01, 9.0, released_s=1.0), person(1, 0.01, 2.0)])
    assert lines.overtaken_s(of)[0] == 0


def test_the_rate_is_that_of_the_moment() -> None:
    of = line([person(0, 0.01, 30.0), person(1, 0.01, 5.5), person(2, 0.01, 25.5)], [10.0] * 15 + [2.0] * 25)
    assert lines.overtaken_s(of)[0] == pytest.approx(0.1 + 0.5)


def test_without_a_rate_nobody_can_say() -> None:
    assert np.isnan(lines.overtaken_s(line(steady_line(3, 1.0), math.nan))).all()


@given(st.lists(st.tuples(st.floats(0.01, 20), st.floats(0, 15), st.booleans()), min_size=1, max_size=40), st.sampled_from([1, 3, 1_024]))
def test_overtaking_is_what_the_definition_says(walks: list[tuple[float, float, bool]], chunk: int) -> None:
    """Each with each, and whatever the size of the chunks."""
    people = [person(place, joined_s, joined_s + wait_s if passes else 0.0) for place, (joined_s, wait_s, passes) in enumerate(walks)]
    of = line(people, 4.0)
    before, lines._CHUNK = lines._CHUNK, chunk  # type: ignore[misc]
    try:
        found = lines.overtaken_s(of)
    finally:
        lines._CHUNK = before  # type: ignore[misc]
    for place in range(len(people)):
        later = [at for at in of.released_s[place + 1 :] if any(from_s <= at < to_s for from_s, to_s in of.spans[place])]
        assert found[place] == pytest.approx(len(later) / 4.0)
