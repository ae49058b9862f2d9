"""benchmarks/simulate_overload.py: the model is sound, and what chose the controller still holds."""

import math

import pytest

from benchmarks.simulate_overload import CONTROLLERS, SCENARIOS, Scenario, Steps, even, lines, quantile, simulate, with_pauses


def test_steps_go_by_at_their_rate() -> None:
    """A pause takes its time, and what began before it ends after it."""
    steps = Steps(((0.0, 10.0), (1.0, 0.0), (1.5, 10.0)))
    assert [steps.at(at_s) for at_s in (0.0, 1.0, 1.2, 1.5, 9.0)] == [10.0, 0.0, 0.0, 10.0, 10.0]
    assert steps.reached(0.5, 10.0) == pytest.approx(2.0)
    assert steps.amount(0.5, 2.0) == pytest.approx(10.0)
    assert Steps(((0.0, 0.0),)).reached(0.0, 1.0) == math.inf
    assert with_pauses(5.0, 2.0, 4.0).amount(0.0, 4.0) == pytest.approx(17.5)


@pytest.mark.parametrize("times", [1, 2, 5, 10, 50])
def test_goodput_holds_and_waits_stay_short(times: int) -> None:
    """The required results of DESIGN section 10, in a shorter run than the table's."""
    row = simulate("target", Scenario(f"{times}x", even(100.0), even(100.0 * times), seconds=15.0))
    assert row.goodput >= (0.8 if times == 50 else 0.9)
    assert row.max_ms < 1_500
    assert row.lost == 0
    assert row.signups >= 0.99


def test_after_a_drop_it_recovers_within_five_seconds() -> None:
    capacity = Steps(((0.0, 1_000.0), (6.0, 100.0), (14.0, 1_000.0)))
    row = simulate("target", Scenario("drop", capacity, even(1_500.0), seconds=22.0, changed_s=14.0))
    assert row.back_s <= 5
    assert (row.lost, row.max_ms < 4_500) == (0, True)


def test_without_a_controller_the_model_collapses() -> None:
    """Else it would prove nothing."""
    assert simulate("none", Scenario("2x", even(100.0), even(200.0), seconds=20.0)).goodput < 0.7


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_run_repeats_itself(name: str) -> None:
    short = Scenario("2x", even(100.0), even(200.0), seconds=7.0)
    assert repr(simulate(name, short)) == repr(simulate(name, short))


def test_the_table_has_a_line_for_each() -> None:
    short = Scenario("short", even(100.0), even(100.0), seconds=6.0)
    assert len(list(lines(["target", "aimd"], [short, short]))) == 5
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def test_a_quantile_of_nothing_is_no_number() -> None:
    assert math.isnan(quantile([], 0.5))
    assert quantile([1.0, 2.0, 3.0], 1) == 3.0
