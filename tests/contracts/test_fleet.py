"""Many gateways, one bucket: what is admitted together, against a real Redis, whatever happens to it.

Four limiters with connections of their own stand for four gateways.  Time is Redis' own, read
before and after; so the bounds hold exactly on any machine.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from devstack import Devstack
from ratelimit import Decision, Limit, Limiter, Policy, RedisStore, Rule
from ratelimit.policy import Ask
from ratelimit.store import ASKS_MAX

GATEWAYS: Final = 4
RATE: Final = 200
BURST: Final = 50
BUCKET: Final = Policy("fleet", (Rule("all", Limit.per(RATE, 1, BURST)),))

_names: Final = count(1)


async def server_us(redis: "Redis") -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1_000_000 + int(micros)


class Fleet:
    """Gateways that all want the same bucket, as fast as they can."""

    def __init__(self, url: str, *, decide_timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.stores = [RedisStore(url, prefix="fleet:") for _ in range(GATEWAYS)]
        self.limiters = [
            Limiter(store, worker=f"gateway-{n}", monotonic_s=loop.time, workers=GATEWAYS, decide_timeout_s=decide_timeout_s)
            for n, store in enumerate(self.stores)
        ]
        self.key = b"fleet:%d" % next(_names)
        self.admitted = 0

    async def hammer(self, seconds: float) -> None:
        """Eight clients a gateway, who never wait."""
        until_s = asyncio.get_running_loop().time() + seconds
        beats = [asyncio.create_task(limiter.run()) for limiter in self.limiters]
        await asyncio.gather(*(self._client(limiter, until_s) for limiter in self.limiters for _ in range(8)))
        for beat in beats:
            beat.cancel()

    async def _client(self, limiter: Limiter, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            answer = limiter.take(BUCKET, (self.key,))
            decision = answer if isinstance(answer, Decision) else await answer
            self.admitted += decision.granted
            if not decision.granted:
                await asyncio.sleep(0.001)

    @property
    def alone(self) -> int:
        """What was granted without Redis: the excess the docstring states is no more."""
        return sum(limiter.counts.alone_tokens for limiter in self.limiters)

    async def close(self) -> None:
        for limiter, store in zip(self.limiters, self.stores, strict=True):
            limiter.close()
            await store.close()


@pytest_asyncio.fixture(loop_scope="session")
async def own(tmp_path: Path) -> AsyncIterator[Devstack]:
    """A Valkey nobody else uses, to restart."""
    async with Devstack(tmp_path / "own", kafka=False, fast_stop=True) as running:
        yield running


@contextlib.asynccontextmanager
async def fleet(url: str, *, decide_timeout_s: float) -> AsyncIterator[Fleet]:
    made = Fleet(url, decide_timeout_s=decide_timeout_s)
    try:
        yield made
    finally:
        await made.close()


async def test_four_gateways_admit_what_one_bucket_holds(stack: Devstack) -> None:
    """At most burst + rate x time, to the token; and nearly all of it, even where this machine stood still for moments."""
    async with fleet(stack.redis.url, decide_timeout_s=30) as four, Redis.from_url(stack.redis.url) as redis:
        began_us = await server_us(redis)
        await four.hammer(10)
        elapsed_us = await server_us(redis) - began_us
    most = BURST + elapsed_us * RATE // 1_000_000
    assert four.alone == 0
    assert 0.9 * most <= four.admitted <= most, (four.admitted, most)


Trouble = Callable[[Devstack, "Redis"], Awaitable[None]]


async def flush_scripts(_: Devstack, redis: "Redis") -> None:
    await redis.script_flush()


async def kill_connections(_: Devstack, redis: "Redis") -> None:
    await redis.execute_command("CLIENT", "KILL", "SKIPME", "yes")  # type: ignore[no-untyped-call]


async def restart(own: Devstack, _: "Redis") -> None:
    await own.redis.kill()
    await own.redis.restart()


@pytest.mark.parametrize(("trouble", "forgets"), [(flush_scripts, 0), (kill_connections, 0), (restart, 1)])
async def test_trouble_admits_no_more_than_is_stated(own: Devstack, trouble: Trouble, forgets: int) -> None:
    """Beyond the bucket: what was granted without Redis, and one burst where it forgot the bucket."""
    async with fleet(own.redis.url, decide_timeout_s=0.5) as four, Redis.from_url(own.redis.url) as redis:
        began_us = await server_us(redis)
        hammering = asyncio.create_task(four.hammer(4))
        for _ in range(2):
            await asyncio.sleep(1)
            await trouble(own, redis)
        await hammering
        async with Redis.from_url(own.redis.url) as fresh:  # the other's connection may be gone
            elapsed_us = await server_us(fresh) - began_us
    most = BURST + elapsed_us * RATE // 1_000_000 + 2 * forgets * BURST + four.alone
    trips = sum(limiter.trips for limiter in four.limiters)
    assert four.admitted <= most, (four.admitted, most)
    # Alone they share the rate; each trip may begin with a full share of the burst.
    assert four.alone <= elapsed_us * RATE // 1_000_000 + trips * (BURST // GATEWAYS), (four.alone, trips)
    assert four.admitted >= 0.5 * (most - four.alone)


async def test_a_million_random_identities_of_one_network_cannot_fill_redis(own: Devstack) -> None:
    """Keys are at most what newcomers may make, and each leaves when its bucket is full again."""
    newcomers = Limit.per(1_000, 1, 5_000)
    policy = Policy("joins", (Rule("address", Limit.per(1, 60, 10), is_identity=True),), newcomers=newcomers)
    store = RedisStore(own.redis.url)
    async with Redis.from_url(own.redis.url) as redis:
        began_us = await server_us(redis)
        granted = largest = 0
        for begin in range(0, 1_000_000, ASKS_MAX):
            asks = [Ask(policy, (b"joins:%d" % n, b"newcomers:2001:db8:7")) for n in range(begin, begin + ASKS_MAX)]
            granted += sum(decision.granted for decision in await store.decide(asks))
            if begin % (ASKS_MAX * 100) == 0:
                largest = max(largest, await redis.dbsize())
        elapsed_us = await server_us(redis) - began_us
        most = newcomers.burst + elapsed_us // newcomers.token_us
        assert granted <= most
        assert largest <= most + 1  # and the newcomers' own
    await store.close()
