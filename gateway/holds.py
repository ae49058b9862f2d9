"""Answers that are held until their turn at the door.

Decided here: only when each is looked at again: with every sign whose clock moved otherwise than
expected (a new rate, a pause), and when it is due.  What becomes of it then is place.hold's to say.
"""

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from gateway.core.place import Hold, hold
from gateway.core.sign import Policy
from gateway.core.turn import DoorClock


class Holds:
    """The held answers of one worker.  Args: now_us: the room's time."""

    def __init__(self, policy: Policy, now_us: Callable[[], int]) -> None:
        self._policy = policy
        self._now_us = now_us
        self._clock: DoorClock | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[Hold]]] = []  # a heap: the next turn first
        self._numbers = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many are held."""
        return len(self._waiting)

    def until(self, turn: int, clock: DoorClock) -> "asyncio.Future[Hold]":
        """GIVE, LATE or END, once it is so."""
        if clock != self._clock:
            self.moved(clock)
        future: asyncio.Future[Hold] = asyncio.get_running_loop().create_future()
        verdict = hold(self._policy, clock, turn, self._now_us())
        if verdict is not Hold.WAIT:
            future.set_result(verdict)
            return future
        self._numbers += 1
        heappush(self._waiting, (turn, self._numbers, future))
        if self._waiting[0][2] is future:
            self._set_timer()
        return future

    def moved(self, clock: DoorClock) -> None:
        """The newest sign's clock; with a sign the reckoning of the time may have moved as well."""
        known, self._clock = self._clock, clock
        if known is not None and known != clock:
            self._look_at_all(clock)
        self._set_timer()

    def close(self) -> None:
        """Let nobody wait on: the worker ends."""
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            if not future.done():
                future.set_result(Hold.END)

    def _look_at_all(self, clock: DoorClock) -> None:
        now_us, kept = self._now_us(), []
        for entry in self._waiting:
            verdict = hold(self._policy, clock, entry[0], now_us)
            if verdict is Hold.WAIT:
                kept.append(entry)
            else:
                _tell(entry[2], verdict)
        self._waiting = kept
        heapify(kept)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and self._clock is not None and not self._clock.is_paused:
            wait_us = self._clock.due_us(self._waiting[0][0]) - self._now_us()
            # Never early: a millisecond more than the timer's own grain.
            self._timer = asyncio.get_running_loop().call_later(max(wait_us, 0) / 1e6 + 0.001, self._due)

    def _due(self) -> None:
        self._timer = None
        clock, now_us = self._clock, self._now_us()
        assert clock is not None
        while self._waiting and (verdict := hold(self._policy, clock, self._waiting[0][0], now_us)) is not Hold.WAIT:
            _tell(heappop(self._waiting)[2], verdict)
        self._set_timer()


def _tell(future: "asyncio.Future[Hold]", verdict: Hold) -> None:
    if not future.done():
        future.set_result(verdict)
