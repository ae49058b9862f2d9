"""The limiter as its callers see it: rows of (second, ask, answer) in virtual time (tests/fakes.py)."""

import asyncio
from itertools import pairwise
from typing import Any, Final, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit.bucket import Limit
from ratelimit.limiter import Limiter
from ratelimit.policy import Ask, Decision, OnError, Policy, Rule
from ratelimit.store import ASKS_MAX, StoreAway
from tests.fakes import VirtualLoop, in_virtual_time
from tests.ratelimit.fake_store import FakeStore

TIMEOUT_S: Final = 0.03
ALL, USER = Rule("all", Limit.per(100, 1, burst=100)), Rule("user", Limit.per(2, 1, burst=4), is_identity=True)
POLICY: Final = Policy("sync", (ALL, USER))


class World:
    """A limiter before a fake store whose clock is hours from ours."""

    def __init__(self, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self._started_s = loop.time()
        self.store = FakeStore(loop.clock.now_us)
        self.store.latency_s = 0.002
        self.limiter = Limiter(self.store, worker="w1", monotonic_s=loop.time, decide_timeout_s=TIMEOUT_S, **settings)

    @property
    def now_s(self) -> float:
        return round(self.loop.time() - self._started_s, 6)

    async def until(self, instant_s: float) -> None:
        """Go on to an instant of the script."""
        assert instant_s >= self.now_s
        await asyncio.sleep(instant_s - self.now_s)

    async def take(self, tokens: int = 1, *, user: str = "u1", policy: Policy = POLICY, kind: Literal["take", "some"] = "take") -> Decision:
        """One ask, awaited."""
        answer = self.limiter.take(policy, (b"all", user.encode()), tokens, kind=kind)
        return answer if isinstance(answer, Decision) else await answer

    async def takes(self, times: int, **how: Any) -> list[str]:
        """So many asks, one after the other: "store+" where it was granted, "store-" where not."""
        told = [await self.take(**how) for _ in range(times)]
        return [f"{one.source}{'+' if one.granted else '-'}" for one in told]

    async def lose_store(self) -> None:
        """From now on it is away, and this is known."""
        self.store.reason = "gone"
        await self.take(policy=POLICY._replace(on_error="closed"), user="nobody")
        assert self.limiter.is_degraded


def on_error(how: OnError) -> Policy:
    return POLICY._replace(on_error=how)


# With the store


@in_virtual_time
async def test_burst_then_rate_and_refusals_are_heard_without_a_trip() -> None:
    w = World()
    assert await w.takes(6) == ["store+"] * 4 + ["store-", "memory-"]
    calls = len(w.store.calls)
    assert (await w.takes(50), len(w.store.calls)) == (["memory-"] * 50, calls)
    await w.until(0.499)
    assert (await w.take()).source == "memory"
    await w.until(0.51)
    assert await w.takes(2) == ["store+", "store-"]
    counts = w.limiter.counts
    assert (counts.allowed, counts.refused, counts.remembered) == (5, 2, 52)


@in_virtual_time
async def test_a_remembered_wait_is_what_is_left_of_the_stores() -> None:
    w = World()
    await w.takes(4)
    sent_s = w.now_s
    refused = await w.take()
    await w.until(0.2)
    again = await w.take()
    assert (refused.violated, again.violated) == (1, 1)
    assert again.retry_after_us == refused.retry_after_us - round((0.2 - sent_s) * 1e6)
    assert (await w.take(3)).retry_after_us == again.retry_after_us + 2 * USER.limit.token_us


@in_virtual_time
async def test_recall_looks_and_spends_nothing() -> None:
    w = World()
    keys = (b"all", b"u1")
    assert w.limiter.recall(POLICY, keys) is None
    await w.takes(5)
    look = w.limiter.recall(POLICY, keys)
    assert look is not None
    assert look.source == "memory"
    assert w.limiter.counts.remembered == 0


@in_virtual_time
async def test_some_takes_what_there_is_and_only_nothing_is_remembered() -> None:
    w = World()
    assert (await w.take(3, kind="some")).granted == 3
    assert (await w.take(9, kind="some")).granted == 1
    assert [(await w.take(9, kind="some")).source for _ in range(2)] == ["store", "memory"]
    assert w.limiter.recall(POLICY, (b"all", b"u1"), 9, kind="some") == w.limiter.recall(POLICY, (b"all", b"u1"), 1)


@in_virtual_time
async def test_peek_asks_the_store_even_where_a_refusal_is_remembered() -> None:
    w = World()
    await w.takes(5)
    answer = w.limiter.peek(POLICY, (b"all", b"u1"))
    assert not isinstance(answer, Decision)
    decision = await answer
    assert (decision.source, decision.granted, decision.violated) == ("store", 0, 1)
    assert (w.limiter.counts.allowed, w.limiter.counts.refused) == (4, 1)


@in_virtual_time
async def test_a_peek_that_would_be_refused_is_remembered_like_a_refusal_and_another_is_not() -> None:
    w = World()
    for wanted in ("store+", "memory-"):
        await w.takes(3 if wanted == "store+" else 0)
        answer = w.limiter.peek(POLICY, (b"all", b"u1"))
        assert not isinstance(answer, Decision)
        await answer
        assert await w.takes(1) == [wanted]


@in_virtual_time
async def test_a_refund_is_back_at_once_for_this_worker() -> None:
    w = World()
    await w.takes(5)
    w.limiter.refund(POLICY, (b"all", b"u1"), 2)
    assert await w.takes(3) == ["store+", "store+", "store-"]


@in_virtual_time
async def test_a_refusal_decided_before_a_refund_and_heard_after_it_is_not_kept() -> None:
    w = World()
    await w.takes(4)
    w.store.latency_s = 0.008
    answer = w.limiter.take(POLICY, (b"all", b"u1"))
    assert not isinstance(answer, Decision)
    await w.until(round(w.now_s + 0.001, 6))
    w.store.latency_s = 0.002
    w.limiter.refund(POLICY, (b"all", b"u1"), 1)
    assert (await answer).granted == 1  # in this order it was in time; the other way round:
    w.store.latency_s = 0.008
    answer = w.limiter.take(POLICY, (b"all", b"u1"))
    assert not isinstance(answer, Decision)
    await w.until(round(w.now_s + 0.005, 6))
    w.store.latency_s = 0.002
    w.limiter.refund(POLICY, (b"all", b"u1"), 1)
    assert not (await answer).granted
    assert await w.takes(1) == ["store+"]


@in_virtual_time
async def test_a_refusal_heard_while_a_refund_is_on_its_way_lasts_until_it_is_done() -> None:
    w = World()
    await w.takes(4)
    w.store.latency_s = 0.008
    w.limiter.refund(POLICY, (b"all", b"u1"), 1)
    await w.until(round(w.now_s + 0.001, 6))
    w.store.latency_s = 0.002
    assert await w.takes(2) == ["store-", "memory-"]
    await w.until(round(w.now_s + 0.006, 6))
    assert await w.takes(1) == ["store+"]


@in_virtual_time
async def test_new_policies_begin_without_memory() -> None:
    w = World()
    await w.takes(5)
    w.limiter.forget()
    assert await w.takes(1) == ["store-"]


@pytest.mark.parametrize(("keys", "tokens"), [(1, 1), (3, 1), (2, 0), (2, 5)])
@in_virtual_time
async def test_what_could_never_be_granted_raises_before_it_joins_the_others(keys: int, tokens: int) -> None:
    w = World()
    with pytest.raises(ValueError, match="sync"):
        w.limiter.take(POLICY, (b"k",) * keys, tokens)
    assert w.store.calls == []


script = st.lists(st.tuples(st.sampled_from([0, 1, 3, 40, 300, 900]), st.sampled_from(["u1", "u2"]), st.integers(1, 4), st.booleans()), max_size=40)


@settings(max_examples=60)
@given(script, st.sampled_from([0.0, 0.002, 0.02, 0.05]))
def test_memory_never_contradicts_the_store(steps: list[tuple[int, str, int, bool]], latency_s: float) -> None:
    """Whatever is refused from memory the store would refuse at that instant, for no shorter a time."""

    @in_virtual_time
    async def play() -> None:
        w = World()
        w.store.latency_s = latency_s
        for after_ms, user, tokens, is_ours in steps:
            await asyncio.sleep(after_ms / 1000)
            keys = (b"all", user.encode())
            if not is_ours:  # another worker
                w.store.judge(Ask(POLICY, keys, tokens))
            elif isinstance(answer := w.limiter.take(POLICY, keys, tokens), Decision) and answer.source == "memory":
                truth = w.store.judge(Ask(POLICY, keys, tokens))
                assert (truth.granted, answer.granted) == (0, 0)
                assert truth.retry_after_us >= answer.retry_after_us > 0

    play()


# Without it


@in_virtual_time
async def test_local_admits_this_workers_share() -> None:
    w = World(workers=2)
    await w.lose_store()
    assert await w.takes(3) == ["local+", "local+", "local-"]
    await w.until(1.01)
    assert await w.takes(2) == ["local+", "local-"]
    counts = w.limiter.counts
    assert (counts.local, counts.alone_tokens, counts.remembered) == (5, 3, 0)


@in_virtual_time
async def test_a_batch_larger_than_the_share_passes_once_and_is_paid_for() -> None:
    w = World(workers=8)
    await w.lose_store()
    assert [(await w.take(4)).granted for _ in range(2)] == [4, 0]


@in_virtual_time
async def test_open_admits_everything_and_says_how_much() -> None:
    w = World()
    await w.lose_store()
    assert await w.takes(100, policy=on_error("open")) == ["open+"] * 100
    assert (w.limiter.counts.open, w.limiter.counts.alone_tokens) == (100, 100)


@in_virtual_time
async def test_closed_admits_nothing_and_names_a_second() -> None:
    w = World()
    await w.lose_store()
    assert await w.take(policy=on_error("closed"), user="u2") == Decision(0, 1_000_000, -1, 0, "closed")
    assert w.limiter.counts.alone_tokens == 0


@in_virtual_time
async def test_what_the_store_refused_stays_refused_while_it_is_away() -> None:
    w = World()
    await w.takes(5)
    await w.lose_store()
    assert await w.takes(2, policy=on_error("open")) == ["memory-", "memory-"]
    await w.until(0.6)
    assert await w.takes(1, policy=on_error("open")) == ["open+"]


@in_virtual_time
async def test_refusals_of_our_own_are_not_remembered_as_the_stores() -> None:
    w = World()
    await w.lose_store()
    await w.takes(5)
    w.store.reason = None
    await w.until(0.3)
    assert await w.takes(1) == ["store+"]


@in_virtual_time
async def test_peek_is_answered_by_on_error_too_and_counted_nowhere() -> None:
    w = World()
    await w.lose_store()
    before = w.limiter.counts.closed
    answers = [w.limiter.peek(on_error(how), (b"all", b"u1")) for how in ("local", "open", "closed")]
    assert answers == [Decision(0, 0, -1, 4, "local"), Decision(0, 0, -1, 4, "open"), Decision(0, 1_000_000, -1, 0, "closed")]
    counts = w.limiter.counts
    assert (counts.local, counts.open, counts.closed - before, counts.alone_tokens) == (0, 0, 0, 0)


@in_virtual_time
async def test_a_refund_goes_where_the_tokens_came_from() -> None:
    w = World()
    await w.lose_store()
    assert await w.takes(5) == ["local+"] * 4 + ["local-"]
    w.limiter.refund(POLICY, (b"all", b"u1"), 1, "local")
    assert await w.takes(2) == ["local+", "local-"]
    w.limiter.refund(POLICY, (b"all", b"u1"), 1, "store")
    w.limiter.refund(POLICY, (b"all", b"u1"), 1, "open")
    assert await w.takes(1) == ["local-"]
    assert w.limiter.counts.refunds_lost == 1


@in_virtual_time
async def test_a_full_line_is_answered_as_if_the_store_were_away_which_it_is_not() -> None:
    w = World(queue_max=ASKS_MAX)
    answers = [w.limiter.take(on_error("open"), (b"all", b"u%d" % n)) for n in range(3 * ASKS_MAX + 2)]
    assert [answer.source for answer in answers if isinstance(answer, Decision)] == ["open", "open"]
    assert (w.limiter.counts.full, w.limiter.is_degraded) == (2, False)


@in_virtual_time
async def test_workers_alone_admit_together_one_burst_more_when_the_store_goes_and_one_when_it_returns() -> None:
    """Four workers, one key, everybody greedy: the bound that the docstring states."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    policy = Policy("user", (Rule("user", Limit.per(10, 1, burst=20)),))
    store = FakeStore(loop.clock.now_us)
    limiters = [Limiter(store, worker=f"w{n}", monotonic_s=loop.time, workers=4) for n in range(4)]
    granted = 0

    async def greed(seconds: float) -> None:
        nonlocal granted
        until_s = loop.time() + seconds
        while loop.time() < until_s:
            for limiter in limiters:
                answer = limiter.take(policy, (b"u",))
                granted += (answer if isinstance(answer, Decision) else await answer).granted
            await asyncio.sleep(0.005)

    started_s = loop.time()
    for _ in range(3):
        await greed(3)
        store.pause()
        await greed(3)
        store.resume()
    await greed(1)
    exact = 20 + 10 * (loop.time() - started_s)
    assert exact * 0.9 <= granted <= exact + 3 * (20 + 20)


# The day it freezes


@in_virtual_time
async def test_a_store_frozen_for_18_seconds_delays_one_tick_and_is_exact_within_two_seconds() -> None:
    w = World()
    worst_s, sources = 0.0, []
    for n in range(2500):
        if n == 100:
            w.store.pause()
        if n == 1900:
            w.store.resume()
        asked_s = w.now_s
        sources.append((asked_s, (await w.take(user=f"u{n}")).source))
        worst_s = max(worst_s, w.now_s - asked_s)
        await w.until(max(w.now_s, round((n + 1) * 0.01, 6)))
    assert worst_s <= TIMEOUT_S + 1e-6
    changes = [(at_s, after) for (_, before), (at_s, after) in pairwise(sources) if before != after]
    (away_s, away), (back_s, back) = changes
    assert (away, back) == ("local", "store")
    assert away_s == 1.0
    assert 19 <= back_s <= 19.05
    assert (w.limiter.trips, w.limiter.counts.timeouts, w.store.cancelled) == (1, 1, 0)
    assert abs(w.limiter.degraded_s - 18) < 0.1


# Workers


@in_virtual_time
async def test_it_beats_every_second_and_the_most_of_three_beats_counts() -> None:
    w = World(workers=6)
    running = asyncio.create_task(w.limiter.run())
    seen = []
    for second, workers in enumerate((4, 4, 8, 1, 1, 3)):
        w.store.workers = workers
        await w.until(second + 0.5)
        seen.append(w.limiter.live_workers)
    running.cancel()
    assert seen == [6, 6, 8, 8, 8, 3]
    assert w.store.beats == [("w1", 3.0)] * 6


@in_virtual_time
async def test_while_the_store_is_away_the_last_that_was_heard_holds() -> None:
    w = World()
    running = asyncio.create_task(w.limiter.run())
    w.store.workers = 5
    await w.until(1.5)
    w.store.reason = "gone"
    await w.take()
    await w.until(9.5)
    assert (w.limiter.live_workers, w.limiter.counts.beats_lost) == (5, 0)  # the asks have a question of their own
    w.store.reason = None
    await w.until(12.5)
    running.cancel()
    assert len(w.store.beats) >= 4


@in_virtual_time
async def test_a_store_that_goes_while_nobody_asks_is_known_to_be_away_and_to_be_back() -> None:
    w = World(workers=4)
    running = asyncio.create_task(w.limiter.run())
    w.store.workers = 4
    await w.until(1.5)
    w.store.reason = "connection refused"
    await w.until(2.1)
    assert (w.limiter.reason, w.limiter.is_degraded, w.limiter.counts.beats_lost) == ("away", True, 1)
    assert await w.takes(1) == ["local+"]  # and who comes now waits for nobody
    await w.until(10)
    assert (w.limiter.trips, 28 <= w.limiter.counts.beats_lost <= 32, w.limiter.live_workers) == (1, True, 4)
    w.store.reason = None
    await w.until(10.3)
    assert (w.limiter.reason, await w.takes(1)) == ("ok", ["store+"])
    beats = len(w.store.beats)
    await w.until(20.3)
    running.cancel()
    assert len(w.store.beats) - beats == 10


@in_virtual_time
async def test_a_store_away_from_the_start_is_never_green_and_exact_once_it_comes() -> None:
    w = World()
    w.store.reason = "connection refused"
    running = asyncio.create_task(w.limiter.run())
    await w.until(0.002)
    assert w.limiter.reason == "away"
    await w.until(60)
    w.store.reason = None
    await w.until(60.3)
    running.cancel()
    assert await w.takes(1) == ["store+"]


@in_virtual_time
async def test_once_an_ask_has_failed_questions_are_like_it_and_beats_wait() -> None:
    w = World()
    await w.lose_store()
    w.store.reason = None
    await w.until(8)
    running = asyncio.create_task(w.limiter.run())
    await w.until(8.5)
    w.store.reason = "gone"
    await w.until(20)
    assert (w.limiter.reason, w.limiter.trips, w.limiter.counts.beats_lost) == ("away", 2, 1)
    w.store.reason = None
    await w.until(20.3)
    running.cancel()
    assert w.limiter.reason == "ok"


@in_virtual_time
async def test_a_frozen_store_that_answers_a_beat_late_is_asked_again_at_once() -> None:
    w = World()
    w.store.reason = "refused"
    running = asyncio.create_task(w.limiter.run())
    await w.until(0.1)
    w.store.reason = None
    w.store.pause()
    await w.until(8)
    assert (w.limiter.reason, w.store.in_flight) == ("away", 0)
    w.store.resume()
    await w.until(8.01)
    running.cancel()
    assert (w.limiter.reason, len(w.store.beats)) == ("ok", 2)


@in_virtual_time
async def test_a_lost_beat_harms_nobody_whom_the_store_answers() -> None:
    """Beats fail, and asks do not: a connection that broke, a server that has enough of them."""
    w = World()

    async def refused(worker: str, alive_s: float) -> int:
        del worker, alive_s
        await asyncio.sleep(0.0015)
        raise StoreAway("gone")

    w.store.beat = refused  # type: ignore[method-assign]
    running = asyncio.create_task(w.limiter.run())
    sources: list[asyncio.Future[Decision]] = []
    for n in range(900):
        sources.append(asyncio.ensure_future(w.take(user=f"u{n}")))
        await asyncio.sleep(0.0011)
    running.cancel()
    assert {(await one).source for one in sources} == {"store", "memory"}
    assert (w.limiter.trips, w.limiter.counts.beats_lost) == (0, 1)


@in_virtual_time
async def test_nor_whom_it_is_about_to_answer() -> None:
    w = World()
    w.store.latency_s = 0.02
    answer = w.limiter.take(POLICY, (b"all", b"u1"))
    assert not isinstance(answer, Decision)
    await w.until(0.005)
    w.limiter._calls.beat_was_lost(w.loop.time() - 0.001)
    assert ((await answer).source, w.limiter.is_degraded) == ("store", False)
    w.limiter._calls.beat_was_lost(w.loop.time() - 0.001)  # or just did
    assert not w.limiter.is_degraded
    w.limiter._calls.beat_was_lost(w.loop.time() + 0.001)
    assert w.limiter.is_degraded


@in_virtual_time
async def test_its_end_cancels_no_beat() -> None:
    w = World()
    running = asyncio.create_task(w.limiter.run())
    await w.until(0.0005)
    running.cancel()
    await w.until(1)
    assert (w.store.cancelled, len(w.store.beats), running.cancelled()) == (0, 1, True)


@in_virtual_time
async def test_a_loop_that_dies_is_seen() -> None:
    w = World()
    w.store.bug = KeyError("no such script")
    running = asyncio.create_task(w.limiter.run())
    await asyncio.wait([running])
    assert isinstance(running.exception(), KeyError)
    assert w.limiter.failed() is running.exception()


@in_virtual_time
async def test_closing_answers_who_waits() -> None:
    w = World()
    w.store.pause()
    answer = w.limiter.take(on_error("open"), (b"all", b"u1"))
    assert not isinstance(answer, Decision)
    w.limiter.close()
    assert (await answer).source == "open"
    assert w.limiter.failed() is None
