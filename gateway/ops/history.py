"""What the screen's charts remember: a point a second for an hour, one every ten seconds for a day.

Pure.  In memory and no further: Prometheus keeps more for those who want it.  12,000 points of thirteen numbers
are about 6 MB at most.
"""

from collections import deque
from itertools import chain, takewhile
from typing import Final

from gateway.ops.frame import Point

SECONDS_KEPT: Final = 3_600
TENS_KEPT: Final = 8_280  # the other 23 hours
_TEN_MS: Final = 10_000
STEP_MS: Final = 60_000


class History:
    """Points in the order of their time, whose first value it is, in ms."""

    def __init__(self) -> None:
        self._seconds: deque[Point] = deque()
        self._tens: deque[Point] = deque(maxlen=TENS_KEPT)

    def __len__(self) -> int:
        return len(self._seconds) + len(self._tens)

    def add(self, point: Point) -> None:
        """Keep it, unless there is one of its second.

        A clock that stepped back: until it has caught up nothing is kept, so that time only grows; by more than
        STEP_MS, all begins anew: nobody waits an hour for a chart.
        """
        at_ms = _at_ms(point)
        if self._seconds:
            newest_ms = _at_ms(self._seconds[-1])
            if at_ms < newest_ms - STEP_MS:
                self._seconds.clear()
                self._tens.clear()
            elif at_ms // 1_000 <= newest_ms // 1_000:
                return
        self._seconds.append(point)
        if len(self._seconds) > SECONDS_KEPT:
            self._age(self._seconds.popleft())

    def since(self, at_ms: int) -> list[Point]:
        """Every point later than this; costs what it returns."""
        newest_first = takewhile(lambda point: _at_ms(point) > at_ms, chain(reversed(self._seconds), reversed(self._tens)))
        return list(newest_first)[::-1]

    def _age(self, point: Point) -> None:
        if not self._tens or _at_ms(point) // _TEN_MS > _at_ms(self._tens[-1]) // _TEN_MS:
            self._tens.append(point)


def _at_ms(point: Point) -> int:
    at_ms = point[0]
    assert isinstance(at_ms, int), point
    return at_ms
