"""What the charts remember."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.ops.history import SECONDS_KEPT, TENS_KEPT, History

BEGAN_MS = 1_769_519_400_000


def filled(seconds: int) -> History:
    history = History()
    for second in range(seconds):
        history.add((BEGAN_MS + 1_000 * second, second))
    return history


def test_an_hour_by_the_second_and_a_day_by_ten() -> None:
    history = filled(2 * 86_400)
    points = history.since(0)
    assert len(points) == len(history) == SECONDS_KEPT + TENS_KEPT
    assert [after[0] - before[0] for before, after in pairwise(points)] == [10_000] * TENS_KEPT + [1_000] * (SECONDS_KEPT - 1)  # type: ignore[operator]
    newest, oldest = points[-1][0], points[0][0]
    assert newest - oldest >= 86_390_000  # type: ignore[operator]


def test_only_what_came_later_is_told() -> None:
    history = filled(100)
    assert [point[1] for point in history.since(BEGAN_MS + 96_000)] == [97, 98, 99]
    assert history.since(BEGAN_MS + 99_000) == []
    assert len(history.since(-1)) == 100


def test_one_point_a_second() -> None:
    history = History()
    for at_ms in (0, 250, 999, 1_000, 1_999, 2_500):
        history.add((at_ms, at_ms))
    assert [point[0] for point in history.since(-1)] == [0, 1_000, 2_500]


def test_a_clock_that_stepped_back_a_little_is_waited_for() -> None:
    history = filled(100)
    for second in range(70, 103):
        history.add((BEGAN_MS + 1_000 * second, -second))
    assert [point[1] for point in history.since(BEGAN_MS + 97_000)] == [98, 99, -100, -101, -102]
    assert len(history) == 103


def test_a_clock_that_stepped_back_an_hour_begins_anew() -> None:
    history = filled(SECONDS_KEPT + 50)
    history.add((BEGAN_MS - 5_000, 0))
    assert history.since(0) == [(BEGAN_MS - 5_000, 0)]


@given(st.lists(st.integers(0, 40_000), max_size=300))
def test_whatever_the_clock_does_time_only_grows_in_it(instants: list[int]) -> None:
    history = History()
    for at_ms in instants:
        history.add((at_ms, 1))
    points = [point[0] for point in history.since(-1)]
    assert points == sorted(set(points))  # type: ignore[type-var]
