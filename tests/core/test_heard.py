"""A part that is not there is noticed by its number, and said of the minutes that it may be of."""

import pytest

from gateway.core.heard import Heard
from tests.minutes import line


def heard(*parts: tuple[int, int]) -> Heard:
    """Of these (part, minute)."""
    of = Heard(line([]), 0)
    for part, minute in parts:
        of.heard(line([], part=part), minute)
    return of


@pytest.mark.parametrize(
    ("parts", "minutes"),
    [
        ([], []),
        ([(7, 10)], []),  # what came before the first is not known
        ([(7, 10), (8, 11), (9, 10), (10, 12)], []),  # the third came late
        ([(10, 12), (7, 10), (9, 10), (8, 11)], []),
        ([(7, 10), (9, 12)], []),  # minute 11 has no line, and is known by that
        ([(7, 10), (9, 10)], [9, 10]),
        ([(7, 10), (9, 11)], [9, 10, 11]),
        ([(7, 10), (0, 11), (9, 12)], [9, 10, 11, 12]),  # minute 11 was empty, so it is not its part
        ([(7, 10), (10, 12)], [9, 10, 11, 12]),  # two parts, and one minute without a line
        ([(7, 10), (9, 9)], [8, 9, 10]),
    ],
)
def test_minutes_that_a_lost_part_may_be_of(parts: list[tuple[int, int]], minutes: list[int]) -> None:
    assert list(heard(*parts).gaps()) == minutes


def test_each_name_of_its_data_directory_is_remembered() -> None:
    of = Heard(line([], home="08" * 8), 0)
    for home in ("08" * 8, "07" * 8, "07" * 8):
        of.heard(line([], home=home), 10)
    assert of.homes == {"07" * 8, "08" * 8}


def test_the_last_line_is_remembered_whatever_comes_after_it() -> None:
    of = heard((1, 10))
    of.heard(line([], part=0, is_last=True), 11)
    of.heard(line([], part=2), 11)
    assert (of.has_last, of.minutes) == (True, {10, 11})
    assert not heard((1, 10)).has_last
