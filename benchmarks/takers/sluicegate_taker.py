"""Ours: Limiter and RedisStore with their defaults, and the beat that says this worker lives, as in the gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from benchmarks.takers import PER_HOUR, Take
from ratelimit import Decision, Limit, Limiter, Policy, RedisStore, Rule

NOTE: Final = "GCRA; 4 buckets all or none (3 shared, 1 per identity); decisions of one event-loop tick share a script call"

# Everybody's decisions meet in these, so they refill faster than anybody could ask.
_SHARED: Final = Limit.per(1_000_000, period_s=1, burst=1_000_000)
_OWN: Final = Limit.per(PER_HOUR, period_s=3600, burst=PER_HOUR)
_POLICY: Final = Policy(
    "take",
    (Rule("all", _SHARED), Rule("route", _SHARED), Rule("network", _SHARED), Rule("user", _OWN, is_identity=True)),
)
_SHARED_KEYS: Final = (b"sluicegate:all", b"sluicegate:route", b"sluicegate:network")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Take]:
    """See Taker."""
    store = RedisStore(url)
    loop = asyncio.get_running_loop()
    limiter = Limiter(store, worker="bench-take", monotonic_s=loop.time)

    async def take(who: str) -> bool:
        answer = limiter.take(_POLICY, (*_SHARED_KEYS, f"sluicegate:{who}".encode()))
        decision = answer if isinstance(answer, Decision) else await answer
        # What it grants by itself while the store is late is no decision of the store's, and cheaper.
        return decision.granted == 1 and decision.source == "store"

    beating = loop.create_task(limiter.run())
    try:
        yield take
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        limiter.close()
        await store.close()
