"""Buckets in this process: the same promise as redis_store.py, by the same arithmetic.

For one worker without Redis, and for tests.  Bounded: where there are more keys than
`keys_max`, those that are full again go first (they say nothing), then those that are
full soonest, because forgetting a bucket forgives what it owes.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ratelimit.policy import Ask, Decision, decide

KEYS_MAX: Final = 16_384
"""About 2 MB.  A sweep of so many takes some milliseconds, in which the process does nothing else."""


class MemoryStore:
    """A Store (see there) of at most `keys_max` buckets, whose clock is `now_us`."""

    def __init__(self, now_us: Callable[[], int], keys_max: int = KEYS_MAX) -> None:
        self._now_us, self._keys_max = now_us, keys_max
        self._full_at_us: dict[bytes, int] = {}
        self._alive_until_us: dict[str, int] = {}

    def __len__(self) -> int:
        """How many buckets are kept."""
        return len(self._full_at_us)

    async def decide(self, asks: Sequence[Ask]) -> Sequence[Decision]:
        """See Store."""
        now_us = self._now_us()
        decisions = [self._decide(ask, now_us) for ask in asks]
        if len(self._full_at_us) > self._keys_max:
            self._sweep(now_us)
        return decisions

    def _decide(self, ask: Ask, now_us: int) -> Decision:
        decision, after = decide(ask, [self._full_at_us.get(key, 0) for key in ask.keys], now_us)
        for key, full_at_us in zip(ask.keys, after, strict=True):
            if full_at_us > now_us:
                self._full_at_us[key] = full_at_us
            else:  # a full bucket is no key
                self._full_at_us.pop(key, None)
        return decision

    def _sweep(self, now_us: int) -> None:
        """Down to seven eighths, so that a flood of keys pays for a sweep once in a while and not each time."""
        live = sorted((item for item in self._full_at_us.items() if item[1] > now_us), key=lambda item: item[1])
        self._full_at_us = dict(live[-(self._keys_max * 7 // 8 or 1) :])

    async def beat(self, worker: str, alive_s: float) -> int:
        """See Store; it knows those who beat here."""
        now_us = self._now_us()
        self._alive_until_us[worker] = now_us + int(alive_s * 1_000_000)
        self._alive_until_us = {name: until_us for name, until_us in self._alive_until_us.items() if until_us > now_us}
        return len(self._alive_until_us)

    async def close(self) -> None:
        """See Store; there is nothing to let go of."""
