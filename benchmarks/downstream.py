"""What stands behind the door: a Kafka consumer that takes so many sign-ups a second, and no more.

It commits each second, as the pace of the door is measured by commits.  What it could have taken and did not, for
want of people, is made good for half a second and no longer: a desk that stood empty has not served anybody.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer

from benchmarks.arrivals import Phase

STEP_S: Final = 0.05
KEPT_S: Final = 0.5  # what it may make good: this process was kept from running, or records were on their way to it
COMMIT_S: Final = 1.0


class Taken(NamedTuple):
    """Totals at one instant, in seconds since the epoch."""

    at_s: float
    could_take: float
    consumed: int


class Desk:
    """How much may be taken just now.  Pure: time comes in."""

    def __init__(self, now_s: float) -> None:
        self.could_take = 0.0
        self.consumed = 0
        self._seen_s = now_s
        self._open = 0.0  # of what it may take and has not

    def may_take(self, per_s: float, now_s: float) -> int:
        """Whole people, by now."""
        allowance = per_s * (now_s - self._seen_s)
        self._seen_s = now_s
        self.could_take += allowance
        self._open = min(self._open + allowance, max(per_s * KEPT_S, 1.0))
        return int(self._open)

    def took(self, count: int, now_s: float) -> Taken:
        """So many came."""
        self._open -= count
        self.consumed += count
        return Taken(now_s, self.could_take, self.consumed)


def rate_at(phases: Sequence[Phase], since_s: float) -> float:
    """A second; after the last phase as in it."""
    ends = list(accumulate(phase.seconds for phase in phases))
    return next((phase.per_s for phase, end_s in zip(phases, ends, strict=True) if since_s < end_s), phases[-1].per_s)


@asynccontextmanager
async def consuming(bootstrap: str, topic: str, group: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has its partitions."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        while not consumer.assignment():
            await asyncio.sleep(STEP_S)
        yield consumer
    finally:
        await consumer.stop()


async def take(consumer: AIOKafkaConsumer, phases: Sequence[Phase]) -> list[Taken]:
    """All phases; the totals at every step."""
    loop = asyncio.get_running_loop()
    began_s = committed_s = loop.time()
    seconds, desk, taken = sum(phase.seconds for phase in phases), Desk(loop.time()), list[Taken]()
    while (now_s := loop.time()) - began_s < seconds:
        most = desk.may_take(rate_at(phases, now_s - began_s), now_s)
        batches = await consumer.getmany(timeout_ms=0, max_records=most) if most else {}
        taken.append(desk.took(sum(map(len, batches.values())), time.time()))
        if now_s - committed_s >= COMMIT_S:
            await consumer.commit()
            committed_s = now_s
        await asyncio.sleep(STEP_S)
    return taken
