"""What is known of a worker from its lines: how long it lived, in which minutes it was heard of, and which of its parts are not there.

Decided here: which minutes a lost part may be of.  Not decided here: what stands in a line (core/audit.py), which minutes
should have one (audit/command.py).
"""

from collections.abc import Iterator
from itertools import pairwise

from gateway.core.audit import Line


class Heard:
    """Of one worker."""

    def __init__(self, line: Line, since: int) -> None:
        self.since = since
        self.machine = line.machine
        self.homes: set[str] = set()  # of its one data directory: the name drawn for it may stand in lines until the disk says another
        self.has_last = False
        self.minutes: set[int] = set()
        self.minute_of_part: dict[int, int] = {}

    def heard(self, line: Line, minute: int) -> None:
        """One of them."""
        self.homes.add(line.home)
        self.has_last |= line.is_last
        self.minutes.add(minute)
        if line.part:
            self.minute_of_part[line.part] = minute

    def gaps(self) -> Iterator[int]:
        """Minutes that a part which is not there may be of.  Where as many have no line at all, these are they, and are known already.

        What comes late has the number of its time, so the minute before is among them.
        """
        for one, other in pairwise(sorted(self.minute_of_part)):
            first, last = sorted((self.minute_of_part[one], self.minute_of_part[other]))
            lost = other - one - 1
            if lost > sum(minute not in self.minutes for minute in range(first, last)):
                yield from range(first - 1, last + 1)
