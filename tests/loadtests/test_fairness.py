"""Each unfairness is found on its fault and not without it; bounds by kind of fault."""

from typing import Any

import pytest

from benchmarks.people import Walked
from loadtests.judge.fairness import HAD_TIME_S, checks, lost, overtaken_bound_s
from loadtests.judge.line import line_of, overtaken_s
from loadtests.recording import Call
from loadtests.result import Check, Mark
from tests.loadtests.observations import by_name, call, observed, person, samples, scenario, steady_line

TWICE, MOVED, LOST = "a place is given once", "a place is kept", "nobody who stays is lost"
OVERTAKEN = "nobody who is there is overtaken for long"
WIDE_1, WIDE_10 = "the door keeps its rate in any 1 s", "the door keeps its rate in any 10 s"


def judged(people: list[Walked], *marks: Mark, seconds: float = 120.0, rate: float = 10.0) -> dict[str, Check]:
    of = observed(people=people, marks=list(marks), samples=samples(round(seconds), door_per_s=rate, door_reason=8.0), ended_s=seconds)
    line = line_of(of)
    assert line is not None
    return dict(by_name(checks(of, line, overtaken_s(line))))


def fired(found: dict[str, Check]) -> dict[str, int]:
    return {name: check.count for name, check in found.items() if check.count}


def test_a_line_in_order_is_fair() -> None:
    found = judged(steady_line(300, 10.0))
    assert set(found) == {TWICE, MOVED, LOST, OVERTAKEN, WIDE_1, WIDE_10}
    assert not fired(found)


def test_a_place_given_twice() -> None:
    found = judged([*steady_line(3, 10.0), person(1, 0.01, 2.0), person(1, 0.01, 3.0), person(-1, 0.01, 4.0), person(-1, 0.01, 5.0)])
    assert (found[TWICE].count, found[TWICE].evidence) == (1, ["place 1: 3 people"])


def test_the_first_place_is_a_place_as_well() -> None:
    assert judged([*steady_line(3, 10.0), person(0, 0.01, 2.0)])[TWICE].evidence == ["place 0: 2 people"]


def test_a_person_moved() -> None:
    found = judged([*steady_line(3, 10.0), person(3, 0.01, 2.0, has_moved=True)])
    assert (found[MOVED].count, found[MOVED].evidence) == (1, ["place 3"])


# Lost


def stuck(**over: Any) -> list[Walked]:
    """Place 0 never gets in; place 1 does at 20 s."""
    return [person(0, 0.5, **over), person(1, 0.6, 20.0)]


def test_stuck_while_later_ones_go_in() -> None:
    found = judged(stuck())
    assert (found[LOST].count, found[LOST].evidence) == (1, ["place 0: joined at 0.500 s, never let in, though later places were"])


@pytest.mark.parametrize(("end_s", "count"), [(20.0 + HAD_TIME_S - 0.01, 0), (20.0 + HAD_TIME_S + 0.01, 1)])
def test_whose_turn_has_only_come_is_not_lost(end_s: float, count: int) -> None:
    assert judged(stuck(), seconds=end_s)[LOST].count == count


def test_presence_counts_not_time() -> None:
    """Away from before the turn until 20 s before the end."""
    assert judged(stuck(away=[(10.0, 100.0)]))[LOST].count == 0
    assert judged(stuck(away=[(10.0, 30.0)]))[LOST].count == 1


def test_the_longest_faults_time_is_not_had() -> None:
    assert judged(stuck(), Mark("Kafka frozen", 5.0, 75.1))[LOST].count == 0
    assert judged(stuck(), Mark("Kafka frozen", 5.0, 74.9))[LOST].count == 1


def test_who_left_is_not_lost_and_who_still_waits_neither() -> None:
    assert judged(stuck(left_s=30.0))[LOST].count == 0
    assert judged([person(0, 0.5, 1.0), person(1, 0.6), person(2, 0.7)])[LOST].count == 0


@pytest.mark.parametrize("over", [{}, {"failed": "422 invalid: []"}])
def test_who_left_late_is_not_lost(over: dict[str, Any]) -> None:
    """After their turn, after their form, after a refusal: who goes is not lost, whatever became of them before."""
    assert judged(stuck(left_s=100.0, **over))[LOST].count == 0
    let_in = [*steady_line(3, 10.0), person(3, 0.01, 20.0, done_s=0.0, left_s=100.0, **over)]
    assert judged(let_in)[LOST].count == 0


@pytest.mark.parametrize(("passed_s", "count"), [(40.1, 0), (39.9, 1)])
def test_let_in_and_never_signed_up(passed_s: float, count: int) -> None:
    """Forms of 5 s: four times that, and a minute to get it accepted."""
    found = judged([*steady_line(3, 10.0), person(3, 0.01, passed_s, done_s=0.0)])
    assert found[LOST].count == count


@pytest.mark.parametrize(("tries", "arrival", "count"), [(1, 7, 1), (2, 7, 0), (3, 7, 0), (2, 8, 1)])
def test_who_tried_as_often_as_the_scenario_says_gave_up(tries: int, arrival: int, count: int) -> None:
    """Two tries each."""
    people = [person(0, 0.01, 10.0, done_s=0.0, arrival=7)]
    streams = [{"name": "citizens", "kind": "applicant", "bursts": [{"people": 1}], "manners": {"tries": 2, "form_s": 5.0}}]
    sent = [call(15.0, status=503, stream=0, call=Call.SIGNUPS, tries=tries, arrival=arrival), call(16.0, stream=0, call=Call.PLACE, tries=9, arrival=7)]
    of = observed(sent, people=people, ended_s=120.0, scenario=scenario(streams=streams))
    line = line_of(of)
    assert line is not None
    assert int(lost(of, line).sum()) == count


def test_refused_for_good_though_the_form_was_right() -> None:
    found = judged([*steady_line(3, 10.0), person(3, 0.01, 110.0, done_s=0.0, failed="422 invalid: []")])
    assert (found[LOST].count, found[LOST].evidence) == (1, ["place 3: 422 invalid: []"])


# Where the door's rate is unknown


def test_without_a_rate_nothing_is_said_of_the_door_or_of_overtaking() -> None:
    """A gateway without an operators' port; not a count of 0."""
    assert set(judged(steady_line(300, 10.0), rate=float("nan"))) == {TWICE, MOVED, LOST}


def test_a_door_that_never_opened_may_let_nobody_in() -> None:
    found = judged(steady_line(300, 10.0), rate=0.0)
    assert OVERTAKEN not in found
    assert found[WIDE_1].count
    assert found[WIDE_10].count


# Overtaken


def test_overtaken_beyond_the_bound() -> None:
    """10/s: by 150 later ones is 15 s, and not one more."""
    for later, count in ((150, 0), (151, 1)):
        people = [person(0, 0.01, 60.0), *(person(1 + place, 0.01, 1.0 + place / 10) for place in range(later))]
        found = judged(people)
        assert found[OVERTAKEN].count == count
    assert found[OVERTAKEN].evidence == ["place 0: by 15.1 s"]


@pytest.mark.parametrize(
    ("marks", "bound_s"),
    [
        ([], 15.0),
        ([Mark("worker killed", 5.0, 5.0)], 20.0),
        ([Mark("Kafka frozen", 5.0, 25.0)], 40.0),
        ([Mark("Redis frozen", 5.0, 15.0), Mark("worker frozen", 30.0, 32.0)], 40.0),
        ([Mark("redis.pause", 5.0, 15.0)], 40.0),
        ([Mark("something new", 5.0, 6.0)], 16.0),
    ],
)
def test_the_bound_by_kind_and_length_of_the_faults(marks: list[Mark], bound_s: float) -> None:
    assert overtaken_bound_s(marks) == bound_s


# The door


def test_the_door_too_wide() -> None:
    """Ten a second is the rate, twenty came: 2 are the burst's, 2 may be late, 1 is reckoning."""
    found = judged(steady_line(200, 20.0))
    assert fired(found) == {WIDE_1: 5, WIDE_10: 95}
    assert found[WIDE_1].evidence[0].startswith("20 passes within 1 s from ")


def test_twice_is_allowed_while_redis_is_lost_and_no_more() -> None:
    assert not fired(judged(steady_line(200, 20.0), Mark("Redis frozen", 0.5, 12.0)))
    assert fired(judged(steady_line(200, 20.0), Mark("Kafka frozen", 0.5, 12.0)))
    assert fired(judged(steady_line(200, 40.0), Mark("Redis frozen", 0.5, 12.0)))
