"""Who was seen by this worker since its last tick: each person once per half window.

Decided here: only what need not be told again.  A tick tells at most some hundred; the rest waits, the
oldest first, and is bounded: who does not fit will look again.
"""

from collections.abc import Sequence
from typing import Final

from gateway.core.sign import Policy

SIGHTINGS_MAX: Final = 100_000  # not told yet: ten seconds of what one core can answer


class Sightings:
    """The two scales of presence; a place seen near is there as well."""

    def __init__(self, policy: Policy) -> None:
        self._near = _Scale(policy.near_us / 2e6)
        self._far = _Scale(policy.far_us / 2e6)

    def __len__(self) -> int:
        """How many are still to be told."""
        return len(self._near.waiting) + len(self._far.waiting)

    def saw(self, place: int, now_s: float, *, is_near: bool) -> None:
        """Somebody looked, or knocked."""
        if is_near:
            self._near.saw(place, now_s)
        elif not self._near.has_told(place, now_s):
            self._far.saw(place, now_s)

    def taken(self, most: int) -> tuple[Sequence[int], Sequence[int]]:
        """(near, far) for one tick."""
        near = self._near.taken(most)
        return near, self._far.taken(most - len(near))

    def put_back(self, near: Sequence[int], far: Sequence[int]) -> None:
        """That tick failed."""
        self._near.put_back(near)
        self._far.put_back(far)


class _Scale:
    """One of them.  Two generations of who was told: cheaper than a time for each."""

    def __init__(self, half_window_s: float) -> None:
        self._half_window_s = half_window_s
        self._since_s = 0.0
        self._told: set[int] = set()
        self._told_before: set[int] = set()
        self.waiting: dict[int, None] = {}

    def has_told(self, place: int, now_s: float) -> bool:
        generations = (now_s - self._since_s) // (self._half_window_s / 2)
        if generations >= 1:
            # Where nobody looked meanwhile the last ones are too old as well: who asks every four seconds is told each time.
            self._told, self._told_before, self._since_s = set(), self._told if generations < 2 else set(), now_s
        return place in self._told or place in self._told_before

    def saw(self, place: int, now_s: float) -> None:
        if not self.has_told(place, now_s) and len(self.waiting) < SIGHTINGS_MAX:
            self._told.add(place)
            self.waiting[place] = None

    def taken(self, most: int) -> Sequence[int]:
        taken = list(self.waiting)[:most] if len(self.waiting) > most else list(self.waiting)
        for place in taken:
            del self.waiting[place]
        return taken

    def put_back(self, places: Sequence[int]) -> None:
        if len(self.waiting) + len(places) <= SIGHTINGS_MAX:
            self.waiting = dict.fromkeys(places) | self.waiting
