"""The only file that reads a clock.

Below the edge of the process time is an argument: wall time as `now_us` (µs
since the epoch, for what other machines will read) and monotonic time as
`now_s` (seconds, for deadlines and ages on this machine).
"""

import time
from collections.abc import Callable
from typing import NamedTuple


class Clock(NamedTuple):
    """What a test may replace.  Both are called, never stored as values."""

    now_us: Callable[[], int]
    monotonic_s: Callable[[], float]


def _now_us() -> int:
    return time.time_ns() // 1000


def cpu_s() -> float:
    """Seconds of CPU this process has used, all threads together."""
    return time.process_time()


SYSTEM = Clock(now_us=_now_us, monotonic_s=time.monotonic)
