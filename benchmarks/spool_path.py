"""Spooling all of it, beside the whole path to Kafka: events a second over real sockets, in pairs.

Two gateways of one worker each, with the same settings and traffic.  One has a Kafka; the other had one until it was
ready, then that was killed: from then on every answer says `spool`.  They take turns on the same core.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks import load, machine, measure, servers, sut, traffic
from benchmarks.command import say
from benchmarks.plan import BATCH_EVENTS, Arm, Pair, PairSample
from benchmarks.rounds import Bench
from devstack import Devstack

TARGET = 0.7
TURN_TRIES = 30
PAIRS = [Pair(Arm(f"spool, {events} a request", "spool", events), Arm(f"kafka, {events} a request", "kafka", events)) for events in (1, BATCH_EVENTS)]


class Compared(NamedTuple):
    """One size of request."""

    events: int
    spool_per_s: float
    kafka_per_s: float
    throughput: measure.Estimate  # spool / kafka, events a second
    cpu: measure.Estimate  # the same of the CPU that an event costs
    refused: int
    spooled_share: float  # of what was to go to Kafka: on a machine that is busy with other things the figures say little
    was_generator_bottleneck: bool

    @property
    def is_met(self) -> bool:
        """Whether spooling keeps what it is to keep."""
        return self.throughput.median >= TARGET and not self.refused


async def compared(directory: Path, rounds: int, seconds: float, connections: int) -> list[Compared]:
    """Measure every pair so many times.

    Raises:
        ServerError: a gateway does not start, or answers otherwise than it should.
    """
    cores, generator = machine.divide(frozenset(os.sched_getaffinity(0))), load.choose("auto")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.others)  # inherited by the stacks and the generator
    async with AsyncExitStack() as cleanup:
        cleanup.callback(os.sched_setaffinity, 0, before)
        stays = await cleanup.enter_async_context(Devstack(directory / "stays", fast_stop=True, say=say))
        goes = await cleanup.enter_async_context(Devstack(directory / "goes", redis_url=stays.redis.url, fast_stop=True, say=say))
        cleanup.push_async_callback(generator.close)
        secret = sut.new_secret()
        tokens, now = sut.tokens(secret, connections, int(time.time())), datetime.now(UTC)
        files: dict[int, str] = {}
        running: dict[str, servers.Server] = {}
        for events in (1, BATCH_EVENTS):
            path = directory / f"traffic-{events}"
            path.write_bytes(traffic.framed(traffic.requests(tokens, events, now)))
            files[events] = str(path)
        for name, kafka in (("kafka", stays.kafka), ("spool", goes.kafka)):
            command = sut.command(sut.ROOT, directory / f"data-{name}", sut.Addresses(kafka.bootstrap, stays.redis.url), secret)
            running[name] = await servers.start(name, command, cores.servers, directory / f"{name}.log")
            cleanup.push_async_callback(servers.stop, running[name])
            await _probed(running[name], traffic.requests(tokens, 1, now)[0])
        await goes.kafka.kill()
        bench = Bench(running, generator, files, connections, seconds)
        await _turned(bench)
        return figures(await bench.run(PAIRS, rounds, say))


async def _probed(server: servers.Server, request: bytes) -> None:
    """Return when Kafka takes what is sent: the first may take it longer than hedge_ms, and is spooled."""
    for _ in range(TURN_TRIES - 1):
        try:
            return await servers.probe(server, request)
        except servers.ServerError:
            await asyncio.sleep(0.2)
    return await servers.probe(server, request)


async def _turned(bench: Bench) -> None:
    """Return when everything is answered from the spool, and all is warm."""
    await bench.warm_up(PAIRS)
    for _ in range(TURN_TRIES):
        sample = await bench.sample(PAIRS[0].arm, min(bench.seconds, 1.0))
        if sample.spooled == sample.requests:
            return
    raise servers.ServerError("the gateway whose Kafka is gone does not answer from its spool")


def figures(samples: list[tuple[Pair, PairSample]]) -> list[Compared]:
    """What the rounds say, one for each size of request."""
    found = []
    for pair in PAIRS:
        both = [one for known, one in samples if known == pair]
        per_s: Mapping[str, list[float]] = {
            "spool": [one.arm.requests * one.arm.events / one.arm.seconds for one in both],
            "kafka": [one.reference.requests * one.reference.events / one.reference.seconds for one in both],
        }
        found.append(
            Compared(
                pair.arm.events,
                measure.median(per_s["spool"]),
                measure.median(per_s["kafka"]),
                measure.estimate([spool / kafka for spool, kafka in zip(per_s["spool"], per_s["kafka"], strict=True)]),
                measure.estimate([one.ratio for one in both]),
                sum(sum(half.refused.values()) + half.lost for one in both for half in (one.arm, one.reference)),
                sum(one.reference.spooled for one in both) / max(sum(one.reference.requests for one in both), 1),
                any(half.was_generator_bottleneck for one in both for half in (one.arm, one.reference)),
            )
        )
    return found
