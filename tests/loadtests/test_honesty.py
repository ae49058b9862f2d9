"""A generator that could not keep up is found out, at each bound and just beyond it."""

import math
from typing import Any

import pytest

from loadtests.judge.honesty import honesty
from loadtests.recording import Process
from tests.loadtests.observations import BEGAN_S, call, observed, samples, scenario


def process(number: int = 0, meant: int = 100, sent: int = 100, cpu_share: float = 0.4) -> Process:
    return Process(number=number, meant=meant, meant_sha256="ab", sent=sent, began_s=BEGAN_S, cpu_share=cpu_share)


def late(worst_s: float, of: int = 2) -> list[tuple[object, ...]]:
    """A hundred arrivals, some of which were taken up late; and one call that is no arrival."""
    return [*(call(number, late_s=worst_s if number < of else 0.001) for number in range(100)), call(1.0, late_s=math.nan)]


def test_at_ease_it_may_be_believed() -> None:
    found = honesty(observed(late(0.0199), processes=[process(), process(1)], tries=2))
    assert (found.meant, found.sent, found.problems, found.tries) == (200, 200, [], 2)
    assert found.late_p99_ms == pytest.approx(19.9)


@pytest.mark.parametrize(("sent", "problems"), [(990, 0), (989, 1)])
def test_what_was_meant_must_be_sent(sent: int, problems: int) -> None:
    assert len(honesty(observed(late(0.0), processes=[process(meant=1_000, sent=sent)])).problems) == problems


@pytest.mark.parametrize(("worst_s", "of", "problems"), [(0.021, 2, 1), (0.019, 2, 0), (5.0, 1, 0)])
def test_who_is_late_is_no_judge(worst_s: float, of: int, problems: int) -> None:
    """One of a hundred may be; two may not.  The first second counts: that is where they are late here."""
    assert len(honesty(observed(late(worst_s, of), processes=[process()])).problems) == problems


@pytest.mark.parametrize(("cpu_share", "problems"), [(0.80, 0), (0.801, 1), (math.nan, 1)])
def test_the_busiest_process_counts(cpu_share: float, problems: int) -> None:
    found = honesty(observed(late(0.0), processes=[process(), process(1, cpu_share=cpu_share)]))
    assert len(found.problems) == problems


# A surge that is less than a hundredth of all arrivals


def crowd(seconds: int = 100, per_s: int = 100, late_s: dict[int, float] | None = None, **over: Any) -> list[str]:
    """Its problems.  Args: late_s: of each arrival by its number, where it is not 1 ms."""
    rows = [call(number / per_s, late_s=(late_s or {}).get(number, 0.001), arrival=number) for number in range(seconds * per_s)]
    count = len(rows)
    return honesty(observed(rows, processes=[process(meant=count, sent=count)], **over)).problems


def test_a_surge_that_was_wholly_late() -> None:
    """83 of 10,000, as dec18's first minute; and the same in the midst of all."""
    assert crowd(late_s=dict.fromkeys(range(83), 0.5)) == ["of 100 arrivals from 0.0 s on 83 were sent more than 20 ms late; half of them at most is honest"]
    assert len(crowd(late_s=dict.fromkeys(range(5_000, 5_083), 0.021))) == 1
    assert crowd(late_s=dict.fromkeys(range(5_000, 5_083), 0.0199)) == []
    assert len(crowd(late_s=dict.fromkeys(range(9_955, 10_000), 0.5))) == 1  # the last fifty


@pytest.mark.parametrize(("late", "problems"), [(50, 0), (51, 1)])
def test_half_of_a_second_may_be_late(late: int, problems: int) -> None:
    """One hiccup of half a second; each of 100/s waits for its end."""
    hiccup = {3_000 + number: (late - number) / 100 + 0.02 for number in range(late)}
    assert len(crowd(late_s=hiccup)) == problems


@pytest.mark.parametrize(("late", "problems"), [(25, 0), (26, 1)])
def test_a_window_has_fifty_arrivals_at_least(late: int, problems: int) -> None:
    """Five a second: ten seconds of them."""
    assert len(crowd(seconds=1_000, per_s=5, late_s=dict.fromkeys(range(late), 0.5))) == problems


def test_of_fewer_than_fifty_all_are_the_window() -> None:
    rows = [call(number, late_s=0.5 if number < 2 else 0.0) for number in range(3)]
    assert "of 3 arrivals from 0.0 s on 2 were sent more than 20 ms late; half of them at most is honest" in honesty(observed(rows)).problems


@pytest.mark.parametrize(("to_s", "late", "problems"), [(10.0, 10, 0), (10.0, 11, 1), (1.0, 1, 0), (1.0, 2, 1), (0.99, 40, 0)])
def test_each_phase_is_held_to_the_same(to_s: float, late: int, problems: int) -> None:
    """Of a thousand ten, of a hundred one; fewer are no phase to judge."""
    of = scenario(phases=[{"name": "opening", "from_s": 20.0, "to_s": 20.0 + to_s}])
    found = crowd(late_s=dict.fromkeys(range(2_000, 2_000 + late), 0.03), scenario=of)
    assert found == ["in phase opening one arrival in a hundred was sent 30.0 ms late or later; at most 20 ms is honest"] * problems


@pytest.mark.parametrize(("late_s", "sent"), [(0.999, 100), (1.001, 98)])
def test_who_was_taken_up_a_second_late_was_not_offered(late_s: float, sent: int) -> None:
    found = honesty(observed(late(late_s), processes=[process()]))
    assert found.sent == sent
    unsent = "of 100 arrivals that were meant the generator sent 98 within 1 s of their instant, 98.0 %; want 99 %"
    assert (unsent in found.problems) == (sent == 98)


@pytest.mark.parametrize(("used", "problems"), [(0.80, 0), (0.81, 1), (math.nan, 0)])
def test_ten_busy_seconds_are_too_many(used: float, problems: int) -> None:
    """A mean over all the time would hide them."""
    busy = samples(40, generator_cpu=[0.1] * 20 + [used] * 10 + [0.1] * 10)
    found = crowd(samples=busy)
    assert found == ["from 20 s on the busiest process of the generator used 81 % of its core for 10 s; more than 80 % leaves no room"] * problems


def test_nine_busy_seconds_and_those_before_the_first_are_not() -> None:
    assert crowd(samples=samples(40, generator_cpu=[0.0] * 20 + [0.85] * 9 + [0.0] * 11)) == []
    before = samples(40, generator_cpu=[1.0] * 15 + [0.1] * 25)
    assert crowd(samples=before)
    assert crowd(samples=before | {"at_s": [number - 14.5 for number in range(40)]}) == []


def test_who_measured_nothing_may_not_be_believed() -> None:
    assert honesty(observed(processes=[process(meant=0, sent=0)])).problems
    assert honesty(observed(processes=[])).problems
