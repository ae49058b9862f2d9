"""What the supervisor finds by asking Kafka and Redis itself, once a second.

Decided here: what is asked, how long is waited, and which light's reason (core/light.py) the answer is.  A worker
knows a dependency by its work; where there is none, at night or before the opening, only a question tells.

    answered in time        kafka  ok             redis  redis-ok
    no answer for a second         kafka-silent          redis-slow
    no contact                     kafka-away            redis-away

A question that failed is asked again over a connection of its own.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient

from gateway.clock import Clock
from ratelimit.redis_store import RedisStore
from ratelimit.store import StoreAway

PERIOD_S: Final = 1.0
ANSWER_S: Final = 1.0
_TEARDOWN_S: Final = 0.5


class Found(NamedTuple):
    """One question's end."""

    reason: str
    took_s: float = math.nan  # NaN: there was no answer


class Probe(Protocol):
    """One dependency."""

    async def ask(self) -> Found:
        """How it is now, within ANSWER_S and a little.  Raises nothing of its library's."""

    async def close(self) -> None:
        """Let go of connections."""


class KafkaProbe:
    """Asks a broker which brokers there are; where that one does not say, the others, as whoever starts anew does."""

    def __init__(self, bootstrap: str, clock: Clock) -> None:
        self._bootstrap = bootstrap
        self._clock = clock
        self._client: AIOKafkaAdminClient | None = None

    async def ask(self) -> Found:
        """See Probe."""
        began_s = self._clock.monotonic_s()
        if self._client is not None and not await self._knows(self._client.describe_cluster()):
            await self.close()
        if self._client is None and (reason := await self._contact()):
            await self.close()
            return Found(reason)
        return Found("ok", self._clock.monotonic_s() - began_s)

    async def _knows(self, question: Awaitable[object]) -> bool:
        """One broker of several may be away, and Kafka none the worse for it."""
        try:
            async with asyncio.timeout(ANSWER_S / 2):
                await question
        except Exception:  # noqa: BLE001 - the client raises its own, and others when its connection dies under it
            return False
        return True

    async def _contact(self) -> str:
        """With any of the brokers that are named: "" or the reason of its light."""
        try:
            async with asyncio.timeout(ANSWER_S / 2):
                await self._connect()
        except (TimeoutError, kafka_errors.RequestTimedOutError):
            return "kafka-silent"
        except Exception:  # noqa: BLE001 - as above
            return "kafka-away"
        return ""

    async def _connect(self) -> None:
        # Kept before anything is awaited: who fails on the way closes it.
        self._client = client = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id="sluicegate-probe", request_timeout_ms=int(ANSWER_S * 1_000))
        await client.start()

    async def close(self) -> None:
        """See Probe; a frozen broker's connection is dropped as it is."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_TEARDOWN_S):
                    await client.close()


class RedisProbe:
    """Asks the limits' Redis for a PONG."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._store = RedisStore(url, connect_timeout_s=ANSWER_S, give_up_s=ANSWER_S)
        self._clock = clock

    async def ask(self) -> Found:
        """See Probe."""
        began_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._store.ping()
        except TimeoutError:
            return Found("redis-slow")
        except StoreAway:
            return Found("redis-away")
        return Found("redis-ok", self._clock.monotonic_s() - began_s)

    async def close(self) -> None:
        """See Probe."""
        await self._store.close()


class Asker:
    """One probe's loop, and what it found last."""

    def __init__(self, probe: Probe, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._probe = probe
        self._clock = clock
        self._sleep = sleep
        self.found = Found("not-asked")

    async def run(self) -> None:
        """For ever, once a second: a question that takes its time is not followed by another at once."""
        while True:
            self.found = await self._probe.ask()
            await self._sleep(PERIOD_S)

    async def close(self) -> None:
        """After `run` was cancelled."""
        await self._probe.close()
