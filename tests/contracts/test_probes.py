"""What the supervisor finds by asking, of the real servers: there, frozen, gone, and back."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from devstack import Devstack
from gateway.clock import SYSTEM
from gateway.core.light import INDEX
from gateway.probes import KafkaProbe, Probe, RedisProbe

BACK_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """Servers that this file may freeze and kill."""
    async with Devstack(tmp_path_factory.mktemp("probes"), fast_stop=True) as running:
        yield running


async def until(probe: Probe, reason: str) -> None:
    async with asyncio.timeout(BACK_S):
        while (await probe.ask()).reason != reason:
            await asyncio.sleep(0.05)


async def test_kafka(own: Devstack) -> None:
    probe = KafkaProbe(own.kafka.bootstrap, SYSTEM)
    await until(probe, "ok")
    assert 0 < (await probe.ask()).took_s < BACK_S
    await own.kafka.pause()
    found = await probe.ask()
    assert (found.reason, math.isnan(found.took_s)) == ("kafka-silent", True)
    await own.kafka.resume()
    await until(probe, "ok")
    await own.kafka.kill()
    await until(probe, "kafka-away")
    await own.kafka.restart()
    await until(probe, "ok")
    await probe.close()
    await until(probe, "ok")  # closing is for good only where nobody asks again
    await probe.close()


async def test_redis(own: Devstack) -> None:
    probe = RedisProbe(own.redis.url, SYSTEM)
    await until(probe, "redis-ok")
    await own.redis.pause()
    assert (await probe.ask()).reason in ("redis-slow", "redis-away")
    await own.redis.resume()
    await until(probe, "redis-ok")
    await own.redis.kill()
    await until(probe, "redis-away")
    await own.redis.restart()
    await until(probe, "redis-ok")
    await probe.close()


async def test_nobody_there_is_away_at_once() -> None:
    for probe, reason in ((KafkaProbe("127.0.0.1:1", SYSTEM), "kafka-away"), (RedisProbe("redis://127.0.0.1:1/0", SYSTEM), "redis-away")):
        assert (await probe.ask()).reason == reason
        await probe.close()


def test_every_finding_is_a_light() -> None:
    assert {"ok", "kafka-silent", "kafka-away", "redis-ok", "redis-slow", "redis-away", "not-asked"} <= INDEX.keys()
