"""The limiters `make bench-take` compares: one file each, one process each, all asked by the same loop.

    sluicegate_taker     ours: four buckets a decision, all or none
    limits_taker         limits, one bucket a decision
    throttled_taker      throttled-py, one bucket
    pyrate_taker         pyrate-limiter, one bucket

    loop                 N tasks, each asks again as soon as it is answered; the same for every arm
    __main__             an arm's process: `python -m benchmarks.takers <arm> <redis url>`
    arm                  that process as the harness sees it
    results              what the samples say, as figures, JSON and a table         (pure)

Each taker offers NOTE, what exactly is measured, and `opened()`, which connects and gives `take`.  They are written as
their own documentation recommends, and where it leaves a choice of algorithm or client, the one that costs least CPU.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Final, Protocol, cast

OURS: Final = "sluicegate"
ARMS: Final = {
    OURS: "benchmarks.takers.sluicegate_taker",
    "limits": "benchmarks.takers.limits_taker",
    "throttled-py": "benchmarks.takers.throttled_taker",
    "pyrate-limiter": "benchmarks.takers.pyrate_taker",
}

# High enough that nobody is refused, and slow enough to refill that a bucket once made stays: what is measured is the
# price of asking.
PER_HOUR: Final = 1_000_000
# redis-py's own default of 100 raises at the 101st task; a user with more tasks raises it.
CONNECTIONS_MAX: Final = 1_024

Take = Callable[[str], Awaitable[bool]]  # whose bucket -> whether the store granted it


class Taker(Protocol):
    """A file of this package named in ARMS."""

    NOTE: str

    def opened(self, url: str) -> AbstractAsyncContextManager[Take]:
        """Connect to the Redis at `url`."""


def taker(name: str) -> Taker:
    """Return the one of that name; imported here, so that a library that is not there breaks its own arm alone."""
    return cast("Taker", import_module(ARMS[name]))
