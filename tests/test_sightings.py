"""Who is told to the store: as often as its windows need, no more, the oldest first, and bounded."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sightings
from gateway.core.sign import Policy
from gateway.sightings import Sightings

POLICY: Final = Policy()
NEAR_S: Final = POLICY.near_us / 1e6
FAR_S: Final = POLICY.far_us / 1e6


def told(seen: Sightings, most: int = 500) -> tuple[list[int], list[int]]:
    near, far = seen.taken(most)
    return list(near), list(far)


def test_however_often_they_look_they_are_told_once() -> None:
    seen = Sightings(POLICY)
    for now_ms in range(0, 900, 10):
        seen.saw(7, now_ms / 1000, is_near=True)
        seen.saw(8, now_ms / 1000, is_near=False)
    assert (len(seen), told(seen), told(seen)) == (2, ([7], [8]), ([], []))


def test_who_was_told_near_is_not_told_far() -> None:
    """Near counts as there; there does not count as near."""
    seen = Sightings(POLICY)
    seen.saw(7, 100.0, is_near=True)
    seen.saw(7, 100.5, is_near=False)
    assert told(seen) == ([7], [])
    seen.saw(8, 100.5, is_near=False)
    seen.saw(8, 100.6, is_near=True)
    assert told(seen) == ([8], [8])


@pytest.mark.parametrize(("is_near", "every_s"), [(True, 3.5), (True, 4.0), (False, 25.0), (False, 55.0)])
def test_who_is_alone_on_a_worker_and_asks_as_told_is_told_each_time(is_near: bool, every_s: float) -> None:
    """Nobody else's looks turn the generations."""
    seen = Sightings(POLICY)
    for turn in range(10):
        seen.saw(7, 100.0 + turn * every_s, is_near=is_near)
        assert told(seen) == (([7], []) if is_near else ([], [7])), turn


@given(st.booleans(), st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.6)), min_size=1, max_size=60))
def test_whoever_is_there_has_been_told_within_the_window(is_near: bool, looks: list[tuple[int, float]]) -> None:
    """Within three quarters of it, and not twice in a quarter."""
    seen, now_s, window_s = Sightings(POLICY), 1_000.0, NEAR_S if is_near else FAR_S
    at_s: dict[int, float] = {}
    for place, wait in looks:
        now_s += wait * window_s
        seen.saw(place, now_s, is_near=is_near)
        near, far = told(seen)
        for one in near if is_near else far:
            assert now_s - at_s.get(one, 0.0) >= window_s / 4
            at_s[one] = now_s
        assert now_s - at_s[place] <= 0.75 * window_s


def test_a_tick_tells_the_near_ones_first_and_of_each_the_oldest() -> None:
    seen = Sightings(POLICY)
    for place in range(30, 0, -1):
        seen.saw(place, 100.0, is_near=place % 3 == 0)
    near = [place for place in range(30, 0, -1) if place % 3 == 0]
    far = [place for place in range(30, 0, -1) if place % 3]
    assert told(seen, 4) == (near[:4], [])
    assert told(seen, 10) == (near[4:], far[:4])
    assert told(seen, 0) == ([], [])
    assert told(seen) == ([], far[4:])


def test_what_a_failed_tick_took_comes_first_again() -> None:
    seen = Sightings(POLICY)
    for place in range(6):
        seen.saw(place, 100.0, is_near=place < 3)
    near, far = seen.taken(5)
    seen.saw(9, 101.0, is_near=True)
    seen.put_back(near, far)
    assert told(seen) == ([0, 1, 2, 9], [3, 4, 5])


def test_who_does_not_fit_is_told_when_they_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sightings, "SIGHTINGS_MAX", 3)
    seen = Sightings(POLICY)
    for place in range(5):
        seen.saw(place, 100.0, is_near=True)
    assert len(seen) == 3
    near, far = seen.taken(500)
    seen.saw(4, 100.1, is_near=True)
    seen.put_back(near, far)  # one too many: they look again
    assert (len(seen), told(seen)) == (1, ([4], []))
