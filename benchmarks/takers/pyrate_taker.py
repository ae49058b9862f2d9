"""pyrate-limiter: an asynchronous Limiter for each identity, GCRA in Redis.

One Limiter with a BucketFactory, the way its documentation routes names, holds one asyncio.Lock during the round trip:
it decides one at a time, and costs half as much CPU again at 64 at once (measured).  So each identity has its own.
Of its two buckets in Redis this is the one its documentation recommends for much traffic: RedisBucket keeps an entry
for each decision of the last hour.  It has nothing to leak, so no thread is started that would.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pyrate_limiter import Duration, Limiter, Rate, RedisStateStore, SingleBucketFactory, StateBucket
from redis.asyncio import Redis

from benchmarks.takers import CONNECTIONS_MAX, PER_HOUR, Take

NOTE: Final = "GCRA, redis-py; 1 bucket, a script call and a connection for each decision; a Limiter per identity, as one Limiter decides one at a time"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Take]:
    """See Taker."""
    rates = [Rate(PER_HOUR, Duration.HOUR)]
    limiters: dict[str, Limiter] = {}
    async with Redis.from_url(url, max_connections=CONNECTIONS_MAX) as client:

        def limiter_of(who: str) -> Limiter:
            bucket = StateBucket(rates, store=RedisStateStore(client, f"pyrate:{who}"))
            return Limiter(SingleBucketFactory(bucket, schedule_leak=False))

        async def take(who: str) -> bool:
            limiter = limiters.get(who)
            if limiter is None:
                limiter = limiters[who] = limiter_of(who)
            return await limiter.try_acquire_async(who, blocking=False)

        yield take
