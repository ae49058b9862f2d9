"""A limiter: whom to ask about a request, so that it waits for the store seldom, briefly, or not at all.

    take ──▶ remembered refusal?  store away?  line full? ──▶ a Decision, at once
              │ none of these
              ▼
            calls.py: shares a call with the asks of its tick ──▶ a Future of a Decision: the store's, or on_error's after `decide_timeout_s`

Not decided here: whether a bucket has tokens (policy.py), what a refusal tells later (memory.py), when the store
counts as away (breaker.py), what a worker may admit alone (local.py), what calls there are (calls.py).

What on_error may admit beyond the exact limit, each time the store goes away (local.py has the reasons):

    local    one burst when it goes (workers × the largest ask where that is more), one at most when it is back
    open     everything
    closed   nothing

A call that was given up may have taken its tokens from the store too: that admits less, never more.
`counts.alone_tokens` is what was granted without the store: more than that cannot have been too much.
Units: seconds of the loop's monotonic clock; µs where buckets are.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from ratelimit.breaker import Reason
from ratelimit.calls import Calls
from ratelimit.counts import Counts
from ratelimit.local import Shares
from ratelimit.memory import Refusals
from ratelimit.policy import Ask, Decision, Policy, Source
from ratelimit.store import ASKS_MAX, Store, StoreAway

BEAT_S: Final = 1.0
ALIVE_S: Final = 3.0  # two beats may be lost
BEATS_KEPT: Final = 3  # the most that any of so many beats told counts: after an outage the first ones find few of the others
CLOSED_RETRY_US: Final = 1_000_000  # about as long as a store that is back is not yet known to be

Answer = Decision | asyncio.Future[Decision]


class Limiter:
    """A store as one event loop asks it.

    Args:
        worker: this process's name among those that share the store.
        monotonic_s: the loop's clock; the store has its own.
        workers: how many share the store, until the first beat tells.
        decide_timeout_s: so long an ask waits at most, in line and in flight together.
        queue_max: asks in line; at 10,000/s three times what comes in `decide_timeout_s`.
        memory_max: remembered refusals, 0.4 kB each.
        local_max: buckets while the store is away, 0.3 kB each.
    """

    def __init__(
        self,
        store: Store,
        *,
        worker: str,
        monotonic_s: Callable[[], float],
        workers: int = 1,
        decide_timeout_s: float = 0.03,
        queue_max: int = 8 * ASKS_MAX,
        memory_max: int = 10_000,
        local_max: int = 100_000,
    ) -> None:
        self._store = store
        self._worker = worker
        self._monotonic_s = monotonic_s
        self._refusals = Refusals(memory_max)
        self._shares = Shares(local_max)
        self._heard: deque[int] = deque([workers], maxlen=BEATS_KEPT)
        self._failure: BaseException | None = None
        self.counts = Counts()
        self._calls = Calls(store, monotonic_s, self.counts, timeout_s=decide_timeout_s, line_max=queue_max, alone=self._alone, learn=self._learn)
        self._breaker = self._calls.breaker

    # What callers ask

    def take(self, policy: Policy, keys: tuple[bytes, ...], tokens: int = 1, *, kind: Literal["take", "some"] = "take") -> Answer:
        """Spend tokens: a Decision where the answer is known here, else a Future of one, which never fails.

        A cancelled Future harms nobody; what it asked for may be spent.

        Raises:
            ValueError: keys that are not the policy's, or "take" of more than its burst: the answer could never be yes.
        """
        if len(keys) != len(policy.rules) + (policy.newcomers is not None) or tokens < 1 or (tokens > 1 and kind == "take" and tokens > policy.burst):
            raise ValueError(f"{policy.name}: {len(keys)} keys, {tokens} tokens: want a key per bucket, and 1 to {policy.burst} tokens")
        if self._refusals.knows(keys) and (refusal := self.recall(policy, keys, tokens, kind=kind)):
            self.counts.remembered += 1
            return refusal
        return self._enter(Ask(policy, keys, tokens, kind))

    def recall(self, policy: Policy, keys: tuple[bytes, ...], tokens: int = 1, *, kind: Literal["take", "some"] = "take") -> Decision | None:
        """The refusal that take() would find in memory, and nothing is spent; None: take() has to ask."""
        return self._refusals.recall(policy, keys, 1 if kind == "some" else tokens, self._now_us())

    def peek(self, policy: Policy, keys: tuple[bytes, ...]) -> Answer:
        """Whether one token could be had, and how many are left."""
        return self._enter(Ask(policy, keys, 1, "peek"))

    def refund(self, policy: Policy, keys: tuple[bytes, ...], tokens: int, source: Source = "store") -> None:
        """Give tokens back where a decision of this source took them.  Nobody waits; lost if the store is away."""
        ask = Ask(policy, keys, tokens, "refund")
        if source == "store":
            self._refusals.forget(keys, self._now_us())
            self._enter(ask)
        elif source == "local":
            self._shares.decide(ask, self.live_workers, self._now_us())

    def forget(self) -> None:
        """The policies changed: what was refused under the old ones is asked again."""
        self._refusals.forget_all()

    # What an operator sees

    @property
    def live_workers(self) -> int:
        """How many share the store, as last heard."""
        return max(1, *self._heard)

    @property
    def is_degraded(self) -> bool:
        """Whether asks are answered without the store."""
        return self._breaker.is_open

    @property
    def reason(self) -> Reason:
        """Why: an ask waited too long, or a call or a beat raised."""
        return self._breaker.reason

    @property
    def degraded_s(self) -> float:
        """How long in all since the start."""
        return self._breaker.degraded_s(self._monotonic_s())

    @property
    def trips(self) -> int:
        """How often the store went away."""
        return self._breaker.trips

    def failed(self) -> BaseException | None:
        """What should never have happened, a bug here or in the store; the process is not to go on."""
        return self._failure or self._calls.failure

    # Background

    async def run(self) -> None:
        """Say every second that this worker lives, for ever; the caller makes it a task and cancels it.

        A lost beat counts as a call that raised, so a store is known to be away though nobody asks.

        Raises: what a store raises that is not StoreAway; failed() tells it too.
        """
        try:
            while True:
                if not self._breaker.is_open or self._is_beat_the_question:
                    await self._beat()
                await asyncio.sleep(self._until_beat_s())
        except Exception as exc:
            self._failure = exc
            raise

    @property
    def _is_beat_the_question(self) -> bool:
        """The store is away and has never failed an ask, with which to ask whether it is back."""
        return self._breaker.is_open and not self._calls.asks_by_itself

    def _until_beat_s(self) -> float:
        return min(max(self._breaker.probe_at_s - self._monotonic_s(), 0.0), BEAT_S) if self._is_beat_the_question else BEAT_S

    async def _beat(self) -> None:
        sent_s = self._monotonic_s()
        try:
            # Shielded: calls are never cancelled, not by the end either.
            self._heard.append(await asyncio.shield(self._store.beat(self._worker, ALIVE_S)))
        except StoreAway:
            self.counts.beats_lost += 1
            self._calls.beat_was_lost(sent_s)
        else:
            self._calls.beat_was_answered(sent_s)

    def close(self) -> None:
        """Answer whoever waits, by on_error, and stop the timers; the store is its owner's to close."""
        self._calls.close()

    # With the store

    def _enter(self, ask: Ask) -> Answer:
        if self._breaker.is_open:
            return self._alone(ask)
        future = self._calls.enter(ask)
        if future is None:
            self.counts.full += 1
            return self._alone(ask)
        return future

    def _learn(self, ask: Ask, decision: Decision | None, sent_s: float) -> None:
        if ask.kind == "refund":
            self._refusals.forget(ask.keys, self._now_us())
        elif decision is not None:
            self._refusals.remember(ask, decision, round(sent_s * 1e6))

    # Without it

    def _alone(self, ask: Ask) -> Decision:
        """The answer of the policy's on_error."""
        counts, how = self.counts, ask.policy.on_error
        if ask.kind == "refund":
            counts.refunds_lost += 1
            return Decision(0, 0, -1, 0, how)
        is_take = ask.kind != "peek"
        if how == "local":
            decision = self._shares.decide(ask, self.live_workers, self._now_us())
            counts.local += is_take
        elif how == "open":
            decision = Decision(ask.tokens if is_take else 0, 0, -1, ask.policy.burst, "open")
            counts.open += is_take
        else:
            decision = Decision(0, CLOSED_RETRY_US, -1, 0, "closed")
            counts.closed += is_take
        counts.alone_tokens += decision.granted
        return decision

    def _now_us(self) -> int:
        return round(self._monotonic_s() * 1e6)
