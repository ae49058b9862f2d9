"""What a handful of numbers says: median with its interval, percentiles, who was the bottleneck.

Pure.  The interval is the binomial order-statistic one: between the k-th smallest and the k-th
largest of n values lies the true median with a probability that depends on n and k alone, not on
how the values are distributed.  No random numbers, so the same samples give the same interval.
Source: David & Nagaraja, Order Statistics, 7.1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
# Above this share of one core somebody has no room left: the rest goes to what cannot be
# scheduled away (interrupts, the reading of clocks).
FULL_SHARE = 0.90


@dataclass(frozen=True)
class Estimate:
    """A median, the interval that holds the true one, and how surely."""

    median: float
    low: float
    high: float
    coverage: float
    count: int


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the median with the narrowest symmetric interval of at least `confidence`.

    Under six values no pair of them is that sure; then it is the whole range, and `coverage`
    says what that is worth.
    """
    if not values:
        raise ValueError("no values: want at least one")
    ordered = sorted(values)
    count = len(ordered)
    trimmed = max(0, trim(count, confidence))
    outside = 2 * binomial_at_most(trimmed, count)
    return Estimate(
        median=median(ordered),
        low=ordered[trimmed],
        high=ordered[count - 1 - trimmed],
        coverage=max(0.0, 1 - outside),
        count=count,
    )


def trim(count: int, confidence: float) -> int:
    """Return how many values may be left out at each end, or -1 if even none is too many."""
    left_out = -1
    while 2 * binomial_at_most(left_out + 1, count) <= 1 - confidence:
        left_out += 1
    return left_out


def binomial_at_most(most: int, count: int) -> float:
    """Return the chance of at most `most` heads in `count` tosses of a fair coin."""
    # A float's exponent ends at 1023: sums of whole numbers first, one division last.
    ways: int = sum(math.comb(count, heads) for heads in range(most + 1))
    return float(ways / 2**count)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of values already sorted; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def generator_was_bottleneck(generator_busy: float, server_busy: float) -> bool:
    """Whether the load generator had no room left while the server still had some.

    Busy is the share of one core used *or waited for*: a generator that shares its core with
    Kafka may never use 90 % of it and be starved all the same.
    """
    return generator_busy > FULL_SHARE and server_busy < FULL_SHARE
