"""Token-bucket arithmetic: may this key spend now, and if not, when?

Pure: no clock, no Redis, no await.  lua/take.lua is the same arithmetic inside
Redis; tests/contracts/test_take.py holds the two equal on random schedules.

State is ONE integer per key, `full_at_us`: the instant the bucket is full again,
in µs.  0, or any instant that has passed, means "full", so a key may expire at
exactly that instant and a missing key needs no care.  All is integer; a token's
time is rounded up, so never more than rate and burst is admitted, and at most
1 µs a token less (1 % at 10,000/s).
Source: GCRA, ITU-T I.371 annex A ("virtual scheduling"); `full_at` is its TAT.
"""

from math import inf
from typing import NamedTuple, Self

TOKEN_US_MAX = 7 * 86_400_000_000
CAPACITY_US_MAX = 2**45  # a year; added to any instant of this century it stays exact in a double, which is all Lua has


class Limit(NamedTuple):
    """One token each `token_us`, at most `burst` of them at once."""

    token_us: int
    burst: int

    @classmethod
    def per(cls, tokens: float, period_s: float, burst: int) -> Self:
        """So many tokens per period.  Raises ValueError where no bucket can be that."""
        token_us = -int(-(period_s * 1_000_000) // tokens) if 0 < tokens <= period_s * 1_000_000 < inf else 0
        if not 1 <= token_us <= TOKEN_US_MAX or not 1 <= burst <= CAPACITY_US_MAX // token_us:
            raise ValueError(
                f"{tokens:g} per {period_s:g} s, burst {burst}: want at most one per µs, at least one per 7 days, 1 <= burst, filled within a year"
            )
        return cls(token_us, burst)

    @property
    def capacity_us(self) -> int:
        """How long an empty bucket takes to fill."""
        return self.burst * self.token_us


class Verdict(NamedTuple):
    """The bucket afterwards, and in how many µs the same would be allowed; 0 = it was."""

    full_at_us: int
    retry_after_us: int


def owed(limit: Limit, full_at_us: int, now_us: int) -> int:
    """How far from full, in µs.  The min() bounds the harm of a clock that stepped back to one full refill."""
    return min(max(full_at_us - now_us, 0), limit.capacity_us)


def remaining(limit: Limit, full_at_us: int, now_us: int) -> int:
    """The tokens there are."""
    return (limit.capacity_us - owed(limit, full_at_us, now_us)) // limit.token_us


def take(limit: Limit, full_at_us: int, now_us: int, tokens: int = 1) -> Verdict:
    """Spend `tokens` at `now_us`, or say how long until that is possible."""
    assert 0 <= tokens <= limit.burst, tokens  # Limiter.take refuses more than a burst
    owed_us = owed(limit, full_at_us, now_us)
    after_us = owed_us + tokens * limit.token_us
    if after_us > limit.capacity_us:
        # The clamped state is stored: else the old clock would keep the key shut.
        return Verdict(now_us + owed_us, retry_after_us=after_us - limit.capacity_us)
    return Verdict(now_us + after_us, retry_after_us=0)


def give_back(limit: Limit, full_at_us: int, now_us: int, tokens: int) -> int:
    """The bucket after `tokens` came back; it never holds more than its burst."""
    return now_us + max(owed(limit, full_at_us, now_us) - tokens * limit.token_us, 0)
