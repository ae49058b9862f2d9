"""One process of the gateway before the line: the sign it goes by, who knocks, whom it holds, what it has yet to tell.

Decided here, for both simulations (line.py, front.py): what is asked of the line and handed over at a tick, who is released
before the next step and when, who is sent back as the rate changes.  It stands for gateway/room.py, over the same pure
functions.  Not decided here: when it ticks, who comes to which worker, and what people do with an answer.

Pure.  Instants are µs of the line's clock.
"""

import heapq
from typing import Generic, TypeVar

from gateway.core.place import Doorman, Hold, back_s, hold, retry_after_s, share_of
from gateway.core.sign import Policy, Sign, Slot
from gateway.core.waiting import Room

Who = TypeVar("Who")  # what a simulation knows a person by


class Worker(Generic[Who]):
    """What it knows since its last tick, and whom it has in hand."""

    def __init__(self, sign: Sign, policy: Policy, workers: int) -> None:
        self.sign = sign
        self.doorman = Doorman(policy, workers)
        self.near: list[int] = []  # places, and those of `far` and `given`, to tell at the next tick
        self.far: list[int] = []
        self.given: list[tuple[int, int]] = []
        self.signups = self.form_s = 0  # likewise
        self.knocks: list[tuple[int, Who]] = []  # with their places
        self.held: list[tuple[int, int, Who]] = []  # a heap of (turn, place, who)
        self._policy = policy

    def knock(self, line: Room, now_us: int) -> list[tuple[Who, Slot | float]]:
        """Ask for all who knocked: a slot, or the seconds after which to come again."""
        asked, self.knocks = self.knocks, []
        return [
            (who, answer if isinstance(answer, Slot) else self._refused(place, answer.free_in_us, now_us))
            for (place, who), answer in zip(asked, line.door([place for place, _ in asked], now_us), strict=True)
        ]

    def _refused(self, place: int, free_in_us: int, now_us: int) -> float:
        after_s = retry_after_s(self._policy, self.sign, place, free_in_us, share_of(place))
        self.doorman.refused(place, after_s, now_us)
        return after_s

    def hold(self, turn: int, place: int, who: Who) -> None:
        """Keep the answer until the turn."""
        heapq.heappush(self.held, (turn, place, who))

    def tick(self, line: Room, now_us: int) -> bool:
        """Tell what was seen, and go by the new sign; whether the door's clock is another one."""
        before = self.sign.clock
        self.sign = line.tick(now_us, self.near, self.far, self.given, self.signups, self.form_s)
        self.near, self.far, self.given, self.signups, self.form_s = [], [], [], 0, 0
        self.doorman.ticked()
        return self.sign.clock != before

    def release(self, now_us: int, until_us: int) -> list[tuple[Who, int]]:
        """All whose turn is before `until_us`, each at its own instant; who is late knocks once more."""
        released, clock = list[tuple[Who, int]](), self.sign.clock
        while self.held and not clock.is_paused:
            turn, place, who = self.held[0]
            due_us = max(clock.due_us(turn), now_us)
            if due_us >= until_us:
                break
            heapq.heappop(self.held)
            if hold(self._policy, clock, turn, due_us) is Hold.LATE:
                self.knocks.append((place, who))
                continue
            self.given.append((place, turn))
            released.append((who, due_us))
        return released

    def send_back(self, now_us: int) -> list[tuple[Who, float]]:
        """The rate changed: who would be held for too long comes again after so many seconds, and keeps the turn."""
        clock, kept, sent = self.sign.clock, [], list[tuple[Who, float]]()
        for turn, place, who in self.held:
            if hold(self._policy, clock, turn, now_us) is Hold.END:
                sent.append((who, back_s(clock, turn, now_us, share_of(place))))
            else:
                kept.append((turn, place, who))
        heapq.heapify(kept)
        self.held = kept
        return sent
