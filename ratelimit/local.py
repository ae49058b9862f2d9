"""A worker's own buckets, for while the store is away.

Pure.  Each worker decides alone with its share of every limit, policy.divided(): rate and burst ÷ workers.
An ask larger than that share could never pass, a batch of 50 where 8 workers share a burst of 120; so the
share's burst is at least the largest ask seen, and its rate stays what it is: such an ask passes
when the share is full, and is paid for by waiting.

What all workers together admit beyond the exact limit, of each bucket:

    when the store goes     one burst, since what was taken there does not count here: workers × (burst ÷ workers);
                            workers × the largest ask where that is more than a share, so workers × 1 for single asks
    per second              nothing: the shares of the rate add up to it
    when it is back         what its bucket gained meanwhile, at most one burst: what was taken here does not count there
    evicted                 a bucket pushed out by `buckets_max` others begins full again

Buckets are kept when the store comes back, so one who trips the breaker often gains nothing.
Units: µs of one monotonic clock, tokens.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from msgspec.structs import replace

from ratelimit.bucket import Limit
from ratelimit.policy import Ask, Decision, Policy, decide, divided

POLICIES_MAX: Final = 1024  # policies come from settings, a few dozen; whoever makes them up loses the cache, not the memory


class _Share(NamedTuple):
    workers: int
    largest: int  # the largest ask there was
    policy: Policy
    burst: int


class Shares:
    """Buckets of this process alone; the longest untouched leaves when `buckets_max` is reached."""

    def __init__(self, buckets_max: int) -> None:
        self._buckets_max = buckets_max
        self._full_at_us: OrderedDict[bytes, int] = OrderedDict()
        self._shares: dict[Policy, _Share] = {}

    def __len__(self) -> int:
        return len(self._full_at_us)

    def decide(self, ask: Ask, workers: int, now_us: int) -> Decision:
        """The answer of this worker, one of `workers`; asks name the whole policy."""
        share = self._share(ask, workers)
        states = self._full_at_us
        decision, after = decide(replace(ask, policy=share.policy), [states.get(key, 0) for key in ask.keys], now_us)
        for key, full_at_us in zip(ask.keys, after, strict=True):
            if full_at_us > now_us:
                states[key] = full_at_us
                states.move_to_end(key)
            else:
                states.pop(key, None)
        while len(states) > self._buckets_max:
            states.popitem(last=False)
        return decision._replace(source="local")

    def _share(self, ask: Ask, workers: int) -> _Share:
        share = self._shares.get(ask.policy)
        tokens = ask.tokens if ask.kind == "take" else 1
        if share is not None and share.workers == workers and tokens <= share.burst:
            return share
        largest = max(tokens, share.largest if share else 1)
        part = divided(ask.policy, workers)
        rules = tuple(rule._replace(limit=Limit(rule.limit.token_us, max(rule.limit.burst, largest))) for rule in part.rules)
        if len(self._shares) >= POLICIES_MAX:
            self._shares.clear()
        policy = part._replace(rules=rules)
        share = self._shares[ask.policy] = _Share(workers, largest, policy, policy.burst)
        return share
