"""Refusals remembered: who asks again too early hears the same, without a trip to the store.

Pure.  What is remembered is the bucket itself as the refusal showed it: the instant it is full
again, `full_at_us`, the one integer of bucket.py, in this process's monotonic clock.  It is reckoned
from when the call was SENT, so it lies no later than the store's own; and others can only make it
later, by taking.  Hence any number of tokens that would be refused here is refused by the store too, if

    nobody gave tokens back  (who refunds here forgets the keys; another worker's refund is not seen),
    the store forgot nothing  (a restart; it is believed again after `TRUST_US`), and
    the two clocks run equally fast  (500 ppm, the most NTP slews, is 30 ms in a minute).

Each of these errs to the strict side, for at most `TRUST_US`.

Not remembered: what newcomers refuse.  Their cost depends on which keys exist, and somebody of the
same network who has one is not to be refused.
Units: µs, tokens.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from ratelimit import bucket
from ratelimit.bucket import Limit
from ratelimit.policy import Ask, Decision, Policy

TRUST_US: Final = 60_000_000


class Seen(NamedTuple):
    """A bucket when the store last refused for it: no fuller than this, and believed until."""

    limit: Limit
    full_at_us: int
    until_us: int


class Refusals:
    """What the store refused, by the key that stood against it; the oldest leaves when `entries_max` is reached."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._seen: OrderedDict[bytes, Seen] = OrderedDict()
        self._refund_us = -1  # the last one

    def __len__(self) -> int:
        return len(self._seen)

    def knows(self, keys: Iterable[bytes]) -> bool:
        """Whether recall() could say anything; the quick look, 0.1 µs."""
        return not self._seen.keys().isdisjoint(keys)

    def recall(self, policy: Policy, keys: tuple[bytes, ...], tokens: int, now_us: int) -> Decision | None:
        """The refusal of these tokens ("some": 1) with the wait that is left; None where the store must be asked."""
        longest: Decision | None = None
        for position, (rule, key) in enumerate(zip(policy.rules, keys, strict=False)):
            seen = self._seen.get(key)
            if seen is None:
                continue
            if now_us >= seen.until_us:
                del self._seen[key]
            elif seen.limit == rule.limit:
                wait_us = bucket.take(seen.limit, seen.full_at_us, now_us, tokens).retry_after_us
                if wait_us > (longest.retry_after_us if longest else 0):
                    longest = Decision(0, wait_us, position, bucket.remaining(seen.limit, seen.full_at_us, now_us), "memory")
        return longest

    def remember(self, ask: Ask, decision: Decision, sent_us: int) -> None:
        """Keep what the store said to an ask that got nothing, if it was a refusal; `sent_us`: when its call left."""
        position = decision.violated
        # A call that was under way during a refund may be decided before it, and heard of after it.  Told apart by key
        # this would need a mark for each; so those few refusals are asked for again.
        if sent_us <= self._refund_us or not 0 <= position < len(ask.policy.rules):
            return
        limit = ask.policy.rules[position].limit
        # "some" is refused only where not even one is there.
        cost_us = (1 if ask.kind == "some" else ask.tokens) * limit.token_us
        full_at_us = sent_us + decision.retry_after_us + limit.capacity_us - cost_us
        key = ask.keys[position]
        self._seen[key] = Seen(limit, full_at_us, min(full_at_us, sent_us + TRUST_US))
        self._seen.move_to_end(key)
        if len(self._seen) > self._entries_max:
            self._seen.popitem(last=False)

    def forget(self, keys: Iterable[bytes], now_us: int) -> None:
        """Tokens are given back to these, or just were: once when it is asked and once when it is answered."""
        self._refund_us = now_us
        for key in keys:
            self._seen.pop(key, None)

    def forget_all(self) -> None:
        """The policies changed."""
        self._seen.clear()
