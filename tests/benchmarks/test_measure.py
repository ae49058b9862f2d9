"""benchmarks/measure.py: medians with intervals one can look up, and who was the bottleneck."""

import math
import random

import pytest

from benchmarks.measure import (
    binomial_at_most,
    estimate,
    generator_was_bottleneck,
    median,
    percentile,
    trim,
)


def test_median_of_odd_and_even() -> None:
    """The middle one, or the mean of the two in the middle; order does not matter."""
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 3.0, 2.0]) == 2.5


@pytest.mark.parametrize(
    ("count", "left_out"),
    # Tables of the sign test at 95 %: below six not even the whole range is sure enough.
    [(1, -1), (5, -1), (6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3), (20, 5), (30, 9)],
)
def test_as_many_are_left_out_as_the_tables_say(count: int, left_out: int) -> None:
    """The ranks of the interval are those printed in any table of the sign test."""
    assert trim(count, 0.95) == left_out


def test_interval_of_twelve_is_third_to_tenth() -> None:
    """Twelve pairs: from the 3rd smallest to the 3rd largest, sure to 96.1 %."""
    found = estimate([float(value) for value in range(12, 0, -1)])
    assert (found.low, found.median, found.high, found.count) == (3.0, 6.5, 10.0, 12)
    assert found.coverage == pytest.approx(1 - 2 * (1 + 12 + 66) / 4096)


def test_few_values_say_how_little_they_are_worth() -> None:
    """Two values: their range, and a coverage of one half; one value: none."""
    two = estimate([1.0, 2.0])
    assert (two.low, two.high, two.coverage) == (1.0, 2.0, 0.5)
    one = estimate([7.0])
    assert (one.low, one.median, one.high, one.coverage) == (7.0, 7.0, 7.0, 0.0)


def test_one_wild_value_does_not_move_the_interval() -> None:
    """A neighbour that ate the core during one pair leaves the interval where it was."""
    calm = [1.0 + step / 100 for step in range(12)]
    wild = [*calm[:-1], 40.0]
    assert (estimate(calm).low, estimate(calm).high) == (estimate(wild).low, estimate(wild).high)


def test_interval_holds_the_true_median_as_often_as_it_says() -> None:
    """Two thousand runs of twelve skewed values: the interval misses in about 4 of 100."""
    dice = random.Random(20_261_218)
    runs = 2_000
    held = sum(found.low <= math.log(2) <= found.high for found in (estimate([dice.expovariate(1) for _ in range(12)]) for _ in range(runs)))
    assert 0.945 < held / runs < 0.975


def test_no_values_is_an_error() -> None:
    """Nothing measured is not a zero."""
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_binomial_adds_up() -> None:
    """All outcomes together are certain; none at all is impossible."""
    assert binomial_at_most(10, 10) == 1.0
    assert binomial_at_most(-1, 10) == 0.0
    assert binomial_at_most(0, 2_000) < 1e-300


def test_percentile_is_a_value_that_was_measured() -> None:
    """Nearest rank: the p99 of a hundred is the 99th, of few the largest."""
    ordered = [float(value) for value in range(1, 101)]
    assert percentile(ordered, 0.50) == 50.0
    assert percentile(ordered, 0.99) == 99.0
    assert percentile([5.0], 0.99) == 5.0
    assert percentile([], 0.99) == 0.0


@pytest.mark.parametrize(
    ("generator_busy", "server_busy", "is_bottleneck"),
    [
        (0.50, 1.00, False),  # what one wants: the server has no room left
        (0.95, 1.00, False),  # both full: the server is still measured at its best
        (0.95, 0.60, True),
        (0.50, 0.60, False),  # nobody full: the server waits for Kafka
    ],
)
def test_bottleneck_is_a_full_generator_before_an_idle_server(*, generator_busy: float, server_busy: float, is_bottleneck: bool) -> None:
    """Only a generator without room in front of a server with room spoils a figure."""
    assert generator_was_bottleneck(generator_busy, server_busy) is is_bottleneck
