"""A store a test can steer, in a loop's virtual time.

It keeps what ratelimit.store.Store promises (tests/ratelimit/test_fake_store.py), decides by
policy.decide at half of its latency, and has switches for a bad day:

    latency_s        a call takes so long
    pause / resume   frozen: calls wait, and are all decided when it wakes
    reason           not None: every call raises StoreAway with it
    lose_answers     calls are decided, and raise
    answers_short    so many answers are missing at the end of each call
    bug              raised by calls: what no store should raise
    clock_us         its own clock
"""

import asyncio
from collections.abc import Callable, Sequence

from ratelimit.policy import Ask, Decision, decide
from ratelimit.store import ASKS_MAX, StoreAway


class FakeStore:
    """ratelimit.store.Store in memory."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self.clock_us = clock_us
        self.latency_s = 0.001
        self.reason: str | None = None
        self.lose_answers = False
        self.answers_short = 0
        self.bug: Exception | None = None
        self.workers = 1
        self.calls: list[list[Ask]] = []  # as they came
        self.in_flight = 0
        self.in_flight_max = 0
        self.beats: list[tuple[str, float]] = []
        self.cancelled = 0
        self.full_at_us: dict[bytes, int] = {}
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        """Freeze."""
        self._running.clear()

    def resume(self) -> None:
        """Wake up; what waited is decided now."""
        self._running.set()

    def judge(self, ask: Ask) -> Decision:
        """What it decides at this instant, with no way to go."""
        now_us = self.clock_us()
        decision, after = decide(ask, [self.full_at_us.get(key, 0) for key in ask.keys], now_us)
        if ask.kind != "peek":
            self.full_at_us.update(zip(ask.keys, after, strict=True))
        return decision

    async def decide(self, asks: Sequence[Ask]) -> Sequence[Decision]:
        assert 1 <= len(asks) <= ASKS_MAX
        self.calls.append(list(asks))
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            await self._travel()
            decisions = [self.judge(ask) for ask in asks]
            await asyncio.sleep(self.latency_s / 2)
        finally:
            self.in_flight -= 1
        if self.lose_answers:
            raise StoreAway("the connection broke after the script ran")
        return decisions[: len(decisions) - self.answers_short]

    async def beat(self, worker: str, alive_s: float) -> int:
        await self._travel()
        self.beats.append((worker, alive_s))
        return self.workers

    async def close(self) -> None:
        self.reason = "closed"

    async def _travel(self) -> None:
        try:
            await asyncio.sleep(self.latency_s / 2)
            await self._running.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.bug is not None:
            raise self.bug
        if self.reason is not None:
            raise StoreAway(self.reason)
