"""The only reader of clocks."""

import time

from gateway.clock import SYSTEM, cpu_s


def test_wall_time_is_in_microseconds_since_the_epoch() -> None:
    before_us = int(time.time() * 1e6)
    now_us = SYSTEM.now_us()
    assert isinstance(now_us, int)
    assert before_us - 1_000 <= now_us <= time.time() * 1e6 + 1_000


def test_monotonic_time_is_in_seconds_and_never_goes_back() -> None:
    """The supervisor compares a worker's with its own: both read the machine's one clock."""
    readings = [SYSTEM.monotonic_s() for _ in range(100)]
    assert readings == sorted(readings)
    assert abs(readings[0] - time.monotonic()) < 10


def test_cpu_is_what_this_process_used_and_only_grows() -> None:
    before = cpu_s()
    while cpu_s() == before:
        sum(range(1_000))
    assert 0 < cpu_s() - before < 10
