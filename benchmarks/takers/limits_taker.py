"""limits: its asynchronous Redis storage and a fixed window.

Fixed windows are the default of what is built on it (slowapi, Flask-Limiter) and the cheapest of its three strategies
(measured: a moving window and a sliding window counter cost about a twentieth and a tenth more CPU).  Of its clients
redis-py is taken: coredis, its default, costs two fifths more.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from limits import RateLimitItemPerHour
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter

from benchmarks.takers import CONNECTIONS_MAX, PER_HOUR, Take

NOTE: Final = "fixed window, redis-py; 1 bucket, a script call and a connection for each decision"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Take]:
    """See Taker."""
    storage = RedisStorage(f"async+{url}", implementation="redispy", max_connections=CONNECTIONS_MAX)
    limiter = FixedWindowRateLimiter(storage)
    item = RateLimitItemPerHour(PER_HOUR)

    async def take(who: str) -> bool:
        return await limiter.hit(item, who)

    yield take
