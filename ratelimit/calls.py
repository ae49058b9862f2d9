"""Many asks, few calls: the store asked once per tick of the loop, and never waited for longer than promised.

Decided here: which asks share a call, and who has waited long enough.  Not decided here: when the store
counts as away (breaker.py), and what those are told who are not to wait (limiter.py).

    ask ──▶ the call being filled ──▶ one of CALLS_MAX in flight ──▶ answered
              the asks of one tick,      │ somebody waited `timeout_s`, or a call raised
              or of as long as the       ▼
              line before it lasts     everybody here is told alone(); what is out stays out, and its
                                       answer tells that the store is back

A call's task is made with its first ask, so it starts when this tick is over, with all that came in it: a lone ask
leaves at once.  While CALLS_MAX are in flight the next ones fill, in line.

Calls are never cancelled: half a question may have been heard.  One timer watches the oldest ask; an ask
in line counts from the first of its call, so it may be told earlier than its own `timeout_s`, never later.
Units: seconds of the loop's monotonic clock.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec.structs import replace

from ratelimit.breaker import Breaker
from ratelimit.counts import Counts
from ratelimit.policy import Ask, Decision
from ratelimit.store import ASKS_MAX, Store, StoreAway

CALLS_MAX: Final = 2  # one is decided while the next travels; more would only wait in the store instead of here
OUT_MAX: Final = CALLS_MAX + 1  # with so many out nobody asks whether the store is back: each holds a connection until the store lets go of it
LATE_S: Final = 0.005  # a timer so late was held up by this process, which then read no answers either
LOOKS_MAX: Final = 20  # however often it stands still, after so many the store is not waited for
TURNS: Final = 3  # of the loop, until an answer that is in the socket is heard: one finds it, one reads it, one wakes the call
NEVER_S: Final = float("inf")


class Call:
    """Asks that go together, and who waits for the answers."""

    __slots__ = ("asked_s", "asks", "futures", "is_given_up", "sent_s", "task")

    def __init__(self, asked_s: float) -> None:
        self.asks: list[Ask] = []
        self.futures: list[asyncio.Future[Decision]] = []
        self.asked_s = asked_s  # by the first of them
        self.sent_s = 0.0
        self.is_given_up = False
        self.task: asyncio.Task[None]


class Calls:
    """The way to one store.

    Args:
        line_max: asks that wait behind those in flight, in whole calls.
        alone: what an ask is told that is not to wait any longer.
        learn: hears every answer that grants nothing, however late, and when its call was sent; and None for
            a refund of which nobody knows whether it was done.
    """

    def __init__(
        self,
        store: Store,
        monotonic_s: Callable[[], float],
        counts: Counts,
        *,
        timeout_s: float,
        line_max: int,
        alone: Callable[[Ask], Decision],
        learn: Callable[[Ask, Decision | None, float], None],
    ) -> None:
        self._store = store
        self._monotonic_s = monotonic_s
        self._counts = counts
        self._timeout_s = timeout_s
        self._line_max = line_max // ASKS_MAX
        self._alone = alone
        self._learn = learn
        self.breaker = Breaker(timeout_s)
        self.failure: BaseException | None = None  # what should never have happened
        self._filling: Call | None = None  # the one asks are added to; None: the next ask makes one
        self._line: deque[Call] = deque()
        self._in_flight: list[Call] = []  # those somebody waits for, at most CALLS_MAX
        self._out: set[Call] = set()  # sent and not answered, given up or not
        self._watch: asyncio.Handle | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._last_ask: Ask | None = None
        self._answered_s = -NEVER_S  # the last answer came
        self._loop: asyncio.AbstractEventLoop

    def enter(self, ask: Ask) -> asyncio.Future[Decision] | None:
        """The answer, in time and without fail; None: the line is full.  Not while the breaker is open."""
        call = self._filling or self._next()
        if call is None:
            return None
        future = self._loop.create_future()
        call.asks.append(ask)
        call.futures.append(future)
        if len(call.asks) >= ASKS_MAX:
            self._filling = None
        return future

    @property
    def asks_by_itself(self) -> bool:
        """It has an ask to put the question with whether the store is back; else beats are the only question."""
        return self._last_ask is not None

    def beat_was_answered(self, sent_s: float) -> None:
        """The store took a beat: as good as an answer."""
        self.breaker.did_answer(self._monotonic_s(), sent_s)

    def beat_was_lost(self, sent_s: float) -> None:
        """A beat raised: as good as a call that did, unless an ask knows better or is about to.

        So who asks is none the worse for it: one connection may break while the others answer.
        """
        if not self._in_flight and self._answered_s < sent_s:
            self._trip("away")

    def close(self) -> None:
        """Tell whoever waits, and stop the timers."""
        self._give_all_up()
        self._last_ask = None
        for timer in (self._watch, self._probe):
            if timer is not None:
                timer.cancel()

    # From an ask to a call

    def _next(self) -> Call | None:
        """A call to fill, which leaves after this tick or waits in line."""
        self._loop = asyncio.get_running_loop()
        if len(self._in_flight) < CALLS_MAX:
            call = self._filling = Call(asked_s=NEVER_S)  # counts from when it is sent, for this tick's own length is not the store's
            self._start(call)
            return call
        if len(self._line) >= self._line_max:
            return None
        call = self._filling = Call(asked_s=self._monotonic_s())
        self._line.append(call)
        return call

    def _start(self, call: Call) -> None:
        self._in_flight.append(call)
        self._run(call)

    def _run(self, call: Call) -> None:
        call.task = self._loop.create_task(self._serve(call))
        call.task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()):
            self.failure = exc

    async def _serve(self, call: Call) -> None:
        if call is self._filling:
            self._filling = None
        if call.is_given_up:  # the store went away before this left
            return
        self._out.add(call)
        call.sent_s = self._monotonic_s()
        call.asked_s = min(call.asked_s, call.sent_s)
        if self._watch is None:
            self._watch_until(call.asked_s + self._timeout_s, call.sent_s)
        self._counts.calls += 1
        self._counts.asks += len(call.asks)
        try:
            decisions = await self._store.decide(call.asks)
            assert len(decisions) == len(call.asks), decisions
        except StoreAway:
            self._lost(call)
        except Exception:
            self._lost(call)
            raise
        else:
            self._answered(call, decisions)

    # From an answer to those who wait

    def _answered(self, call: Call, decisions: Sequence[Decision]) -> None:
        now_s = self._answered_s = self._monotonic_s()
        self.breaker.did_answer(now_s, call.sent_s)
        self._done(call)
        granted = refused = 0
        for ask, future, decision in zip(call.asks, call.futures, decisions, strict=True):
            if decision.granted:
                granted += 1
            else:
                refused += ask.kind in {"take", "some"}
                self._learn(ask, decision, call.sent_s)
            if not future.done():  # told alone(), or its waiter was cancelled
                future.set_result(decision)
        counts = self._counts
        if now_s - call.sent_s > self._timeout_s or call.is_given_up:
            counts.late += 1
        else:
            counts.answered += 1
        if not call.is_given_up:  # those are counted as what they were told
            counts.allowed += granted
            counts.refused += refused

    def _lost(self, call: Call) -> None:
        self._counts.store_errors += 1
        for ask in call.asks:
            if ask.kind == "refund":
                self._learn(ask, None, call.sent_s)
        self._trip("away")
        self._done(call)

    def _done(self, call: Call) -> None:
        """A call is no longer out: the next in line leaves, or the next question may."""
        self._out.discard(call)
        if call in self._in_flight:
            self._in_flight.remove(call)
            if self._line:
                self._start(self._line.popleft())
        if self.breaker.is_open:
            self._plan_probe()

    # When the store is late

    def _watch_until(self, due_s: float, now_s: float) -> None:
        # Not below a millisecond: uvloop rounds to whole ones, and would turn on the spot until the rest is over.
        self._watch = self._loop.call_later(max(due_s - now_s, 0.001), self._look, due_s)

    def _look(self, due_s: float, looks: int = 1, turns: int = 0) -> None:
        """Whether the oldest ask has waited long enough.

        Args: due_s: when this look was planned for; turns: of the loop since it found the store late.
        """
        self._watch = None
        now_s = self._monotonic_s()
        oldest_s = min([call.asked_s for call in self._in_flight], default=NEVER_S)
        if oldest_s == NEVER_S:  # nobody waits, or nothing has left: the next that leaves has it watched
            return
        if oldest_s + self._timeout_s > now_s + 1e-6:
            self._watch_until(oldest_s + self._timeout_s, now_s)
        elif now_s - due_s > LATE_S and looks < LOOKS_MAX:
            # This process stood still and proves nothing about the store: what has arrived meanwhile is read first.
            self._watch = self._loop.call_later(LATE_S, self._look, now_s + LATE_S, looks + 1)
        elif turns < TURNS:
            # A look that is due at the very end of a standstill is not late itself, and the answer has been there for long.
            self._watch = self._loop.call_soon(self._look, now_s, looks, turns + 1)
        else:
            self._counts.timeouts += 1
            self._trip("slow")

    def _trip(self, reason: Literal["slow", "away"]) -> None:
        self.breaker.did_fail(self._monotonic_s(), reason)
        self._give_all_up()
        self._plan_probe()

    def _give_all_up(self) -> None:
        given_up = [*self._in_flight, *self._line]
        self._filling = None
        self._in_flight.clear()
        self._line.clear()
        for call in given_up:
            call.is_given_up = True
            self._last_ask = call.asks[0]
            for ask, future in zip(call.asks, call.futures, strict=True):
                if not future.done():
                    future.set_result(self._alone(ask))

    # Whether it is back

    def _plan_probe(self) -> None:
        """The next question whether the store is back, if one may be out; else the next answer plans it."""
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None
        if self._last_ask is not None and len(self._out) < OUT_MAX:
            self._probe = self._loop.call_later(max(self.breaker.probe_at_s - self._monotonic_s(), 0.0), self._ask_whether_back, self._last_ask)

    def _ask_whether_back(self, like: Ask) -> None:
        """A peek of what was asked last: the store must run the script and read what an ask reads; it spends and writes nothing."""
        self._probe = None
        if not self.breaker.is_open:
            return
        call = Call(asked_s=NEVER_S)
        call.asks.append(replace(like, tokens=1, kind="peek"))
        call.futures.append(self._loop.create_future())
        self._out.add(call)
        self._run(call)
        self.breaker.did_ask(self._monotonic_s())
        self._plan_probe()
