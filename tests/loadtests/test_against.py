"""Before and now."""

import math

import msgspec
import pytest

from loadtests.report.against import at_percentile, changes, differences
from loadtests.result import SloRow
from tests.loadtests import results


@pytest.mark.parametrize(
    ("bound", "was", "now", "want"),
    [
        ("≤ 500 ms", 100.0, 120.0, ("+20\u00a0%", "worse")),
        ("≤ 500 ms", 100.0, 80.0, ("-20\u00a0%", "better")),
        ("≥ 95 %", 100.0, 80.0, ("-20\u00a0%", "worse")),
        ("≥ 95 %", 100.0, 120.0, ("+20\u00a0%", "better")),
        ("≥ 1 and ≤ 9", 100.0, 120.0, ("+20\u00a0%", "")),
        ("≤ 500 ms", 100.0, 104.0, ("+4\u00a0%", "same")),
        ("≤ 500 ms", 100.0, 100.0, ("0\u00a0%", "same")),
        ("≤ 0 people", 0.0, 0.0, ("0\u00a0%", "same")),
        ("≤ 0 people", 0.0, 3.0, ("from zero", "worse")),
        ("≤ 500 ms", math.nan, 100.0, ("", "")),
        ("≤ 500 ms", 100.0, math.nan, ("", "")),
    ],
)
def test_better_is_what_the_bound_wants(bound: str, was: float, now: float, want: tuple[str, str]) -> None:
    before, after = (msgspec.structs.replace(results.passed(), slo=[SloRow("all", "m", "says", bound, value, str(value), is_met=True)]) for value in (was, now))
    first = changes(before, after)[0]
    assert (first.change, first.tells) == want


def test_what_only_one_has_is_left_out() -> None:
    whats = [one.what for one in changes(results.broke(), results.passed())]
    assert whats == ["From the last arrival until all was answered", "Arrivals sent"]


def test_one_rehearsal_does_not_differ_from_itself() -> None:
    assert differences(results.passed(), results.passed()) == []
    assert {one.tells for one in changes(results.passed(), results.passed())} == {"same"}


def test_other_conditions_are_told() -> None:
    other = msgspec.structs.replace(results.passed(), machine={**results.passed().machine, "commit": "0000000"}, seed=7)
    assert differences(other, results.passed()) == ["seed: 7 before, 18 now", "machine: commit: 0000000 before, 828a170 now"]


def test_a_percentile_that_nobody_has_is_nan() -> None:
    assert at_percentile([50.0, 99.0], [1.0, 2.0], 95.0) == 2.0
    assert math.isnan(at_percentile([], [], 99.0))
