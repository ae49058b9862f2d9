"""Everybody who comes to the front, what each does next and when.  Columns, one row a person or a sync.

Decided here: who is there when their instant comes (who has left never is again, who sleeps comes when they wake), and how
long they wait who were told to.  Not decided here: what they are answered (room.py, front.py).

Steps of 100 ms: what comes within one is served at its end, and an answer is heard in a later one.  Seconds of the
rehearsal's clock.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtests.recording import Call
from loadtests.simulate.plan import NEVER_S, People, State
from loadtests.simulate.seen import Seen

STEP_S: Final = 0.1
IMPATIENT_S: Final = 2.0
AT_ONCE_S: Final = 0.05  # who sends again whatever they are told: a round trip
NEVER_STEP: Final = 2**31 - 1

Ids = NDArray[np.int64]


class Crowd:
    """The people of a plan, and the step that is being played."""

    def __init__(self, people: People, seen: Seen) -> None:
        count = len(people.meant_s)
        self.people, self.seen = people, seen
        self.step = 0
        self.state = people.state.copy()
        self.next_s = people.meant_s.copy()
        self.next_step = (self.next_s / STEP_S).astype(np.int32) + 1
        self.due_s = people.meant_s.copy()  # of the request in hand, its retries aside
        self.sleep_s = people.sleep_s.copy()
        self.tries = np.zeros(count, np.int16)
        self.drops = np.zeros(count, np.int8)

    @property
    def now_s(self) -> float:
        """The end of this step: what came within it is served."""
        return self.step * STEP_S

    @property
    def is_idle(self) -> bool:
        """Nobody does anything more of themselves."""
        return bool((self.next_step == NEVER_STEP).all())

    def asking(self) -> Ids:
        """Who asks in this step.  Who has left and who sleeps ask nothing."""
        people, ids = self.people, np.flatnonzero(self.next_step == self.step)
        at_s = self.next_s[ids]
        has_left = people.leave_s[ids] <= at_s
        sleeps = ~has_left & (self.sleep_s[ids] <= at_s) & (at_s < people.wake_s[ids])
        gone, asleep = ids[has_left], ids[sleeps]
        self.state[gone] = State.LEFT
        self.next_step[gone] = NEVER_STEP
        self.come_at(asleep, people.wake_s[asleep])
        self.sleep_s[asleep] = NEVER_S
        waiting = asleep[np.isnan(self.seen.released_s[asleep])]
        self.seen.called_s[waiting] = np.nan
        return ids[~(has_left | sleeps)]

    # When they come again

    def come_at(self, ids: Ids, at_s: NDArray[np.float64]) -> None:
        """Each with another request, at an instant of their own."""
        self.next_s[ids] = self.due_s[ids] = at_s
        self.next_step[ids] = np.maximum((at_s / STEP_S).astype(np.int32) + 1, self.step + 1)

    def come_again(self, person: int, at_s: float) -> None:
        """One, with another request."""
        self.due_s[person] = at_s
        self.sent_again(person, at_s)

    def sent_again(self, person: int, at_s: float) -> None:
        """By the kernel: it is still the same request."""
        self.next_s[person] = at_s
        self.next_step[person] = max(int(at_s / STEP_S) + 1, self.step + 1)

    def wait(self, person: int) -> None:
        """Until they are answered they ask nothing more."""
        self.next_step[person] = NEVER_STEP

    def become(self, person: int, state: State) -> None:
        """So they are, and ask nothing more of themselves."""
        self.state[person] = state
        self.wait(person)

    def patience_s(self, person: int, told_s: float) -> float:
        """How long they wait who were told to wait so long; as users.py's `patient`."""
        if self.people.blind[person]:
            return AT_ONCE_S
        return min(told_s, IMPATIENT_S) if self.people.impatient[person] else told_s

    # What they hear

    def told(self, person: int, call: Call, status: int, done_s: float) -> None:
        """Write down a call, from the instant it was due."""
        due_s, tries = float(self.due_s[person]), int(self.tries[person]) + 1
        self.seen.calls.add(
            int(self.people.stream[person]), call, status, min(tries, 255), person, due_s, done_s, is_arrival=due_s == self.people.meant_s[person]
        )

    def told_places(self, ids: Ids, took_s: float) -> None:
        """Write down looks: those of the people whose looks are."""
        each = self.seen.looks_each
        noted = ids if each == 1 else ids[ids % each == 0]
        self.seen.calls.looked(self.people.stream[noted], noted, self.due_s[noted], took_s)
