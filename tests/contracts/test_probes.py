"""What the supervisor finds by asking, of the real servers: there, frozen, gone, and back."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka.errors import KafkaConnectionError

from devstack import Devstack
from gateway.clock import SYSTEM
from gateway.core.light import INDEX
from gateway.probes import Found, KafkaProbe, Probe, RedisProbe
from tests.fakes import in_virtual_time

BACK_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """Servers that this file may freeze and kill."""
    async with Devstack(tmp_path_factory.mktemp("probes"), fast_stop=True) as running:
        yield running


async def until(probe: Probe, reason: str) -> Found:
    async with asyncio.timeout(BACK_S):
        while (found := await probe.ask()).reason != reason:
            await asyncio.sleep(0.05)
    return found


async def test_kafka(own: Devstack) -> None:
    probe = KafkaProbe(own.kafka.bootstrap, SYSTEM)
    assert 0 < (await until(probe, "ok")).took_s < BACK_S
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


class Client:
    """An admin client that does what a test says."""

    def __init__(self, *, starts: bool = True, answers: bool = True, closes: bool = True, fails: bool = False) -> None:
        self._starts, self._answers, self._closes, self._fails = starts, answers, closes, fails
        self.closed = 0

    async def start(self) -> None:
        await _unless(self._starts, fails=self._fails)

    async def describe_cluster(self) -> None:
        await _unless(self._answers, fails=self._fails)

    async def close(self) -> None:
        self.closed += 1
        await _unless(self._closes, fails=False)


async def _unless(is_well: bool, *, fails: bool) -> None:
    if not is_well:
        if fails:
            raise KafkaConnectionError
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("clients", "reasons"),
    [
        ([Client()], ["ok", "ok"]),
        ([Client(answers=False, fails=True), Client()], ["ok", "ok"]),  # one of several brokers is away
        ([Client(answers=False), Client()], ["ok", "ok"]),
        ([Client(starts=False), Client()], ["kafka-silent", "ok"]),
        ([Client(starts=False, fails=True), Client()], ["kafka-away", "ok"]),
        ([Client(answers=False, closes=False), Client(starts=False, closes=False)], ["ok", "kafka-silent"]),
    ],
)
def test_a_broker_that_does_not_answer_is_not_yet_all_of_kafka(monkeypatch: pytest.MonkeyPatch, clients: list[Client], reasons: list[str]) -> None:
    """And a question takes a second and a little, whatever hangs; what hung is let go of."""
    made = iter(clients)
    monkeypatch.setattr("gateway.probes.AIOKafkaAdminClient", lambda **_: next(made))

    async def ask() -> None:
        probe, loop = KafkaProbe("b:1", SYSTEM), asyncio.get_running_loop()
        for reason in reasons:
            began_s = loop.time()
            assert (await probe.ask()).reason == reason
            assert loop.time() - began_s <= 2.1
        assert [client.closed for client in clients[:-1]] == [1] * (len(clients) - 1)

    in_virtual_time(ask)()


async def test_nobody_there_is_away_at_once() -> None:
    for probe, reason in ((KafkaProbe("127.0.0.1:1", SYSTEM), "kafka-away"), (RedisProbe("redis://127.0.0.1:1/0", SYSTEM), "redis-away")):
        assert (await probe.ask()).reason == reason
        await probe.close()


def test_every_finding_is_a_light() -> None:
    assert {"ok", "kafka-silent", "kafka-away", "redis-ok", "redis-slow", "redis-away", "not-asked"} <= INDEX.keys()
