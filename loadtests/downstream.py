"""The system behind the door, that falters: a consumer of sign-ups which is slower the more waits for it.

It takes what the universal scalability law (usl.py) allows with as many sign-ups waiting as there are: quickest at
the knee, and beyond it ever slower, as the system of 18 December was.  It commits each second, which is what the
door's pace is measured by.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer

from benchmarks.downstream import COMMIT_S, STEP_S, Desk, consuming
from loadtests import usl
from loadtests.scenario import Downstream

_ENDS_EVERY_S: Final = 0.2


class Faltering:
    """One of them, from `taking` to its end."""

    def __init__(self, law: usl.Usl, consumer: AIOKafkaConsumer) -> None:
        self._law = law
        self._consumer = consumer
        self._desk = Desk(time.monotonic())
        self._ended = 0  # of all partitions
        self.waiting = 0

    @property
    def consumed(self) -> int:
        """Sign-ups, in all."""
        return self._desk.consumed

    @property
    def could_take(self) -> float:
        """That the law would have allowed, in all."""
        return self._desk.could_take

    async def run(self) -> None:
        """Until cancelled.  Kafka away is waited for: that is another's fault to rehearse."""
        committed_s = looked_s = 0.0
        while True:
            now_s = time.monotonic()
            if now_s - looked_s >= _ENDS_EVERY_S:
                looked_s = now_s
                self._ended = sum((await self._consumer.end_offsets(list(self._consumer.assignment()))).values())
                self.waiting = max(self._ended - self.consumed, 0)
            most = self._desk.may_take(self._law.rate(max(self.waiting, 1)), now_s)
            batches = await self._consumer.getmany(timeout_ms=0, max_records=most) if most else {}
            self._desk.took(sum(map(len, batches.values())), now_s)
            if now_s - committed_s >= COMMIT_S:
                committed_s = now_s
                await self._consumer.commit()
            await asyncio.sleep(STEP_S)


@asynccontextmanager
async def taking(settings: Downstream, bootstrap: str, topic: str, group: str) -> AsyncIterator[Faltering]:
    """One that runs beside; `topic` is empty when it begins."""
    async with consuming(bootstrap, topic, group) as consumer:
        faltering = Faltering(usl.Usl.with_knee(settings.per_s, settings.knee, settings.contention), consumer)
        running = asyncio.create_task(faltering.run())
        try:
            yield faltering
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled() and (failed := running.exception()) is not None:
                raise failed
