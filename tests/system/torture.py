"""A real gateway under load whose processes are killed, again and again; in the end the checker says what became of it.

    python -m tests.system.torture --kills 500

    mostly       SIGKILL to one worker
    one in 8     to the supervisor: its workers drain by themselves, and another one is started beside them
    one in 16    to all of them at once, as when the machine goes down
    meanwhile    Kafka is away most of the time: frozen for seconds, or killed and started anew with what it has

The next kill waits for some 202s since the last one: what is not serving has nothing to lose.  In the end Kafka is back,
and the gateway started until nothing waits on its disk; whatever does all the same the checker is told of.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from aiokafka import ConsumerRecord

from devstack import Devstack, Topic
from tests.system import gateway as harness
from tests.system.crowd import Applicant, Client, Crowd, Phone
from tests.system.gateway import Gateway, records, running
from tests.system.history import Found, History, found
from tests.system.judgement import Judgement, judge
from tests.system.load import drained, until
from tests.system.remains import Remains, stopped

PHONES: Final = 24
APPLICANTS: Final = 4
PER_S: Final = 150.0
SERVES_AGAIN_S: Final = 60.0
_LIVES_MAX: Final = 5  # until nothing waits: one drains it all, unless it is ended before it has begun
_ACCEPTED_BETWEEN: Final = 40  # requests, from kill to kill
_KILLED_SHARE: Final = 0.2  # of the outages; in all others Kafka is frozen


class Outages:
    """Kafka's: again and again; however it ends, Kafka runs."""

    def __init__(self, stack: Devstack, dice: Random) -> None:
        self._kafka, self._dice = stack.kafka, dice
        self.is_on = False
        self.had = Counter[str]()

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        is_over = asyncio.Event()
        breaking = asyncio.create_task(self._run(is_over))
        try:
            yield
        finally:
            is_over.set()
            await breaking

    async def _run(self, is_over: asyncio.Event) -> None:
        """Not to be cancelled: half started anew, Kafka would stay away."""
        while not await _within(self._dice.uniform(1.0, 3.0), is_over):
            is_killed = self._dice.random() < _KILLED_SHARE
            self.had["killed" if is_killed else "frozen"] += 1
            self.is_on = True
            try:
                await (self._kafka.kill() if is_killed else self._kafka.pause())
                await _within(self._dice.uniform(2.0, 6.0), is_over)
            finally:
                await (self._kafka.restart() if is_killed else self._kafka.resume())
                self.is_on = False


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait so long, or until it has come; whether it has."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Tortured(NamedTuple):
    """What was done, what was said, and the word on it."""

    killed: Counter[tuple[str, bool]]  # who, and whether Kafka was away just then
    outages: Counter[str]
    told: Counter[int]
    problems: Counter[str]
    history: History
    kafka: list[Found]
    judgement: Judgement

    def __str__(self) -> str:
        killed = {f"{who}{' with Kafka away' if is_away else ''}": count for (who, is_away), count in sorted(self.killed.items())}
        replayed = sum(one.is_replay for one in self.kafka)
        said = f"killed {killed}; Kafka {dict(self.outages)}; told {dict(self.told)}, refused {dict(self.problems)}; {replayed:,} replayed"
        return f"{said}; {self.judgement}"


async def torture(gateway: Gateway, topics: Mapping[str, str], stack: Devstack, *, kills: int, seed: int = 1, per_s: float = PER_S) -> Tortured:
    """Load, kills and outages, then peace until everybody has the last answer; the gateway is stopped, and Kafka read.

    Args: topics: `syncs_topic` and `signups_topic`, which nobody else writes to.
    """
    # The crowd has dice of its own: how often it throws them is a matter of time, and who is killed shall not be.
    dice, history = Random(seed), History()
    clients: list[Client] = [Phone(topics["syncs_topic"], number) for number in range(PHONES)]
    clients += [Applicant(topics["signups_topic"]) for _ in range(APPLICANTS)]
    crowd, killed = Crowd(gateway, history, clients, per_s, Random(seed)), Counter[tuple[str, bool]]()
    outages = Outages(stack, Random(seed))
    going_on = asyncio.create_task(crowd.run())
    async with outages.going_on():
        for number in range(kills):
            await _until_accepted(crowd, going_on)
            await asyncio.sleep(dice.uniform(0.0, 0.5))
            is_away = outages.is_on
            killed[await _kill_someone(gateway, dice), is_away] += 1
            if number % 50 == 49:
                print(f"{number + 1} kills, {len(history.events):,} events", flush=True)
    await _until_accepted(crowd, going_on)
    crowd.is_ending = True
    async with asyncio.timeout(SERVES_AGAIN_S):
        await going_on
    left = await _emptied(gateway)
    kafka = [_read(record) for topic in topics.values() for record in await records(stack.kafka.bootstrap, topic)]
    return Tortured(killed, outages.had, crowd.told, crowd.problems, history, kafka, judge(history, kafka, left.spool, left.rejected))


async def _emptied(gateway: Gateway) -> Remains:
    """What is left when it was started until nothing waits."""
    for _ in range(_LIVES_MAX):
        await drained(gateway)
        left = await stopped(gateway)
        if not left.spool:
            break
        await gateway.start()
    return left


async def _until_accepted(crowd: Crowd, going_on: asyncio.Task[None]) -> None:
    wanted = crowd.told[202] + _ACCEPTED_BETWEEN
    await until(lambda: crowd.told[202] >= wanted or going_on.done(), SERVES_AGAIN_S, "202s after a kill")
    if going_on.done():
        going_on.result()  # a client that fell over is told here, not at the end


async def _kill_someone(gateway: Gateway, dice: Random) -> str:
    """Returns who it was.  Whoever has no supervisor any more gets one."""
    workers = gateway.worker_pids()
    drawn, which = dice.random(), dice.random()
    if drawn >= 3 / 16 and workers:
        _kill(workers[int(which * len(workers))])
        return "a worker"
    gateway.process.kill()
    if drawn < 1 / 16:
        for pid in workers:
            _kill(pid)
    # Not its wait(): that waits for its workers too, which have its standard output.
    await until(lambda: gateway.process.returncode is not None, SERVES_AGAIN_S, "the supervisor is gone")
    await gateway.start()
    return "all" if drawn < 1 / 16 else "the supervisor"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _read(record: ConsumerRecord) -> Found:
    return found(record.topic, record.partition, record.offset, record.key, record.value, record.headers)


async def main(kills: int, seed: int, per_s: float) -> int:
    """A stack of its own: 0 where the checker finds nothing."""
    topics = {"syncs_topic": "torture.syncs", "signups_topic": "torture.signups"}
    with tempfile.TemporaryDirectory() as directory:
        async with Devstack(Path(directory) / "devstack", fast_stop=True) as stack:
            harness.redis_url = stack.redis.url
            for name in topics.values():
                await stack.create_topic(Topic(name))
            async with running(Path(directory) / "gateway", stack.kafka.bootstrap, deliver=topics) as gateway:
                tortured = await torture(gateway, topics, stack, kills=kills, seed=seed, per_s=per_s)
    print(tortured)
    for finding in tortured.judgement.findings[:20]:
        print(f"{finding.kind}: {finding.evidence}")
    return int(bool(tortured.judgement.findings))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1, help="of the dice: who is killed, and when")
    parser.add_argument("--per-s", type=float, default=PER_S, help=f"requests a second, of all clients together ({PER_S:g})")
    asked = parser.parse_args()
    sys.exit(asyncio.run(main(asked.kills, asked.seed, asked.per_s)))
