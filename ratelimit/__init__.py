"""Rate limits: token buckets in Redis, several at once, all or none.  Knows nothing of the gateway.

::

    everyone = Rule("all", Limit.per(5_000, period_s=1, burst=5_000))
    per_user = Rule("user", Limit.per(10, period_s=60, burst=5), is_identity=True)
    policy = Policy("sync", (everyone, per_user))

    store = RedisStore("redis://127.0.0.1:6379/0")
    limiter = Limiter(store, worker="w1", monotonic_s=loop.time)
    answer = limiter.take(policy, (b"sync:all", b"sync:user:4711"))
    decision = answer if isinstance(answer, Decision) else await answer
    decision.granted, decision.retry_after_us

    limiter.py       many asks, few calls, no waiting
    memory.py        refusals it remembers               breaker.py        when the store counts as away
    local.py         what holds meanwhile

    store.py         what a place for buckets promises
    redis_store.py   it in Redis, by lua/take.lua        memory_store.py   it in one process
    redis_pool.py    connections, and scripts over them
    redis_line.py    one connection, the door to the client libraries

    policy.py        several buckets as one answer; pure
    bucket.py        one bucket: the arithmetic of a limit; pure

Time is an argument or the store's; the clock of a machine is never compared with another's.
"""

from ratelimit.bucket import Limit
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.policy import Ask, Decision, Policy, Rule
from ratelimit.redis_store import RedisStore
from ratelimit.store import Store, StoreAway

__all__ = ["Ask", "Decision", "Limit", "Limiter", "MemoryStore", "Policy", "RedisStore", "Rule", "Store", "StoreAway"]
