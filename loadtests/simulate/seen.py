"""What a simulation of the front saw, and nothing yet of what is to be said of it: verdict.py reads it.

Columns are of people, one row each; an instant that never came is nan.  Looks are most of what a crowd does: of the people
one in so many has theirs written down, that they fit in memory.  Seconds of the rehearsal's clock.
"""

from collections import Counter
from typing import Final

import numpy as np

from loadtests.simulate.calls import Calls

LOOKERS_RECORDED: Final = 20_000  # people whose looks are written down: a million's would fill the memory


class Seen:
    """What is judged."""

    def __init__(self, people: int) -> None:
        self.joined_s = np.full(people, np.nan)
        self.called_s = np.full(people, np.nan)  # told so, and there since
        self.released_s = np.full(people, np.nan)
        self.passed_s = np.full(people, np.nan)  # who slept hears of it later
        self.first_p50_s = np.full(people, np.nan)
        self.done_s = np.full(people, np.nan)
        self.knocked = np.zeros(people, np.int32)
        self.is_unknown = np.zeros(people, bool)  # of a payload: some answer did not say that nothing happened
        self.calls = Calls()
        self.looks_each = max(1, people // LOOKERS_RECORDED)  # of the people one in so many
        self.passes = self.passed_twice = self.places_twice = 0
        self.looks = self.knocks = 0
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, list[float]] = {}
