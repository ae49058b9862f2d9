"""What a limiter needs of the place where buckets live.

Two keep this promise: memory_store.py in one process, redis_store.py for all of
them.  tests/contracts/test_store.py examines both alike.
"""

from collections.abc import Sequence
from typing import Protocol

from ratelimit.policy import Ask, Decision


class StoreAway(Exception):
    """No contact, or no usable answer.  What was asked may have been done all the same."""


class Store(Protocol):
    """Buckets by key."""

    async def decide(self, asks: Sequence[Ask]) -> Sequence[Decision]:
        """One answer per ask, decided one after the other at one instant of the store's own clock.

        Args: asks: 1 to ASKS_MAX; equal keys are the same bucket, and see what the asks before did.

        Raises:
            StoreAway: within its own time; never cancelled by the caller, who stops waiting instead.
        """

    async def beat(self, worker: str, alive_s: float) -> int:
        """Say that this worker lives, for so long; returns how many do.  Raises StoreAway."""

    async def close(self) -> None:
        """Let go of connections."""


ASKS_MAX = 128
"""The most asks of one call: at 64 a call holds Redis for less than a millisecond."""
