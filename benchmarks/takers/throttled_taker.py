"""throttled-py: its asynchronous RedisStore and GCRA, the algorithm that is ours too.

Its extra `redis` asks for redis-py < 8; it runs on 8 unchanged.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from throttled.asyncio import RateLimiterType, RedisStore, Throttled

from benchmarks.takers import CONNECTIONS_MAX, PER_HOUR, Take

NOTE: Final = "GCRA, redis-py; 1 bucket, a script call and a connection for each decision"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Take]:
    """See Taker."""
    store = RedisStore(server=url, options={"CONNECTION_POOL_KWARGS": {"max_connections": CONNECTIONS_MAX}})
    throttled = Throttled(using=RateLimiterType.GCRA.value, quota=f"{PER_HOUR}/h burst {PER_HOUR}", store=store)

    async def take(who: str) -> bool:
        return not (await throttled.limit(who)).limited

    yield take
