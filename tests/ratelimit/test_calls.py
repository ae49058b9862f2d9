"""Many asks, few calls: a store's mornings in virtual time (tests/fakes.py), where a minute takes a millisecond."""

import asyncio
import functools
import socket
from collections.abc import Sequence
from typing import Final

from ratelimit.bucket import Limit
from ratelimit.calls import CALLS_MAX, LATE_S, OUT_MAX, Calls
from ratelimit.counts import Counts
from ratelimit.policy import Ask, Decision, Policy, Rule
from ratelimit.store import ASKS_MAX
from tests.fakes import VirtualLoop, in_virtual_time
from tests.ratelimit.fake_store import FakeStore

TIMEOUT_S: Final = 0.03
POLICY: Final = Policy("p", (Rule("user", Limit.per(1000, 1, burst=1000)),))
ALONE: Final = Decision(0, 7, -1, 0, "closed")


class World:
    """Calls to a fake store; who is not to wait is told ALONE."""

    def __init__(self, line_max: int = 8 * ASKS_MAX) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self._started_s = loop.time()
        self.store = FakeStore(loop.clock.now_us)
        self.counts = Counts()
        self.learnt: list[tuple[str, Decision | None]] = []
        self.calls = Calls(
            self.store,
            loop.time,
            self.counts,
            timeout_s=TIMEOUT_S,
            line_max=line_max,
            alone=lambda _: ALONE,
            learn=lambda ask, told, _: self.learnt.append((ask.kind, told)),
        )
        self.told: dict[str, tuple[float, str]] = {}  # who heard when, and from whom

    @property
    def now_s(self) -> float:
        return round(self.loop.time() - self._started_s, 6)

    def is_open(self) -> bool:
        return self.calls.breaker.is_open

    async def until(self, instant_s: float) -> None:
        """Go on to an instant of the script."""
        assert instant_s >= self.now_s
        await asyncio.sleep(instant_s - self.now_s)

    def ask(self, *names: str) -> "list[asyncio.Future[Decision]]":
        """Asks of this tick, each of a bucket of its own."""
        futures = []
        for name in names:
            future = self.calls.enter(Ask(POLICY, (name.encode(),)))
            assert future is not None
            future.add_done_callback(functools.partial(self._heard, name))
            futures.append(future)
        return futures

    def _heard(self, name: str, done: "asyncio.Future[Decision]") -> None:
        if not done.cancelled():
            self.told[name] = self.now_s, done.result().source

    def sent(self) -> list[list[str]]:
        """The buckets of each call, probes in brackets."""
        return [[ask.keys[0].decode() if ask.kind == "take" else f"({ask.keys[0].decode()})" for ask in asks] for asks in self.store.calls]


# On a good day


@in_virtual_time
async def test_the_asks_of_a_tick_share_a_call_and_a_lone_one_leaves_at_once() -> None:
    w = World()
    w.ask("a", "b")
    w.loop.call_soon(w.ask, "next tick")
    await w.until(0.5)
    w.ask("alone")
    await w.until(1)
    assert w.sent() == [["a", "b"], ["next tick"], ["alone"]]
    assert w.told == {"a": (0.001, "store"), "b": (0.001, "store"), "next tick": (0.001, "store"), "alone": (0.501, "store")}


@in_virtual_time
async def test_two_calls_are_in_flight_and_what_comes_meanwhile_shares_the_next() -> None:
    w = World()
    w.store.latency_s = 0.010
    for tick in range(6):
        w.ask(f"{tick}", f"{tick}'")
        await w.until((tick + 1) * 0.001)
    await w.until(0.5)
    assert w.sent() == [["0", "0'"], ["1", "1'"], ["2", "2'", "3", "3'", "4", "4'", "5", "5'"]]
    assert {w.told[name] for name in "2345"} == {(0.020, "store")}
    assert w.store.in_flight_max == CALLS_MAX


@in_virtual_time
async def test_a_call_has_at_most_128_asks_and_nobody_overtakes() -> None:
    w = World()
    names = [str(n) for n in range(3 * ASKS_MAX + 1)]
    w.ask(*names)
    await w.until(1)
    assert [len(call) for call in w.sent()] == [128, 128, 128, 1]
    assert sum(w.sent(), []) == names  # noqa: RUF017 - four lists
    assert w.store.in_flight_max == CALLS_MAX
    assert (w.counts.calls, w.counts.asks, w.counts.allowed) == (4, len(names), len(names))


@in_virtual_time
async def test_a_full_line_takes_no_more_until_it_moves() -> None:
    w = World(line_max=ASKS_MAX)
    w.ask(*[str(n) for n in range((CALLS_MAX + 1) * ASKS_MAX)])
    assert w.calls.enter(Ask(POLICY, (b"one more",))) is None
    await w.until(0.0011)
    w.ask("later")
    await w.until(1)
    assert w.told["later"] == (0.0021, "store")


@in_virtual_time
async def test_a_cancelled_waiter_harms_nobody() -> None:
    w = World()
    first, _ = w.ask("a", "b")
    await w.until(0.0005)
    first.cancel()
    await w.until(1)
    assert w.told == {"b": (0.001, "store")}
    assert (w.store.cancelled, w.calls.failure) == (0, None)


# On a bad one


@in_virtual_time
async def test_nobody_waits_longer_than_promised_in_line_or_in_flight() -> None:
    w = World()
    w.store.pause()
    for tick in range(10):
        w.ask(f"{tick}")
        await w.until((tick + 1) * 0.002)
    await w.until(0.029)
    assert (w.told, w.is_open()) == ({}, False)
    await w.until(0.031)
    assert w.told == {f"{tick}": (0.030, "closed") for tick in range(10)}
    assert (w.is_open(), w.calls.breaker.reason, w.counts.timeouts) == (True, "slow", 1)
    assert w.sent() == [["0"], ["1"]]
    assert w.store.cancelled == 0
    w.store.resume()
    await w.until(0.1)
    w.told.clear()
    for tick in range(10):
        w.ask(f"{tick}")
        await w.until(0.1 + (tick + 1) * 0.002)
    await w.until(0.2)
    assert {source for _, source in w.told.values()} == {"store"}
    assert len(w.told) == 10


@in_virtual_time
async def test_a_line_that_was_given_up_holds_nobody_up_later() -> None:
    w = World()
    w.store.pause()
    w.ask(*[f"old {n}" for n in range(6 * ASKS_MAX)])
    await w.until(1)
    assert len(w.told) == 6 * ASKS_MAX
    w.store.resume()
    await w.until(1.1)
    for n in range(1, 6):
        w.ask(f"{n}")
        await w.until(round(1.1 + n * 0.1, 6))
    assert [w.told.get(f"{n}") for n in range(1, 6)] == [(round(1.001 + n * 0.1, 6), "store") for n in range(1, 6)]
    assert w.calls.breaker.trips == 1
    # What was told alone is not counted as the store's.
    assert (w.counts.allowed, w.counts.asks) == (5, 5 + 2 * ASKS_MAX + sum(call[0].startswith("(") for call in w.sent()))


@in_virtual_time
async def test_the_wait_in_line_counts() -> None:
    w = World()
    w.store.latency_s = 0.020
    for n in range(3):
        w.ask(f"{n}")
        await w.until((n + 1) * 0.001)
    await w.until(1)
    assert w.told == {"0": (0.020, "store"), "1": (0.021, "store"), "2": (0.032, "closed")}


@in_virtual_time
async def test_who_cancelled_is_not_told_that_the_store_is_away_either() -> None:
    w = World()
    w.store.pause()
    first, _ = w.ask("a", "b")
    await w.until(0.01)
    first.cancel()
    await w.until(0.1)
    assert (w.told, w.calls.failure) == ({"b": (0.030, "closed")}, None)


@in_virtual_time
async def test_each_call_ends_once_however_often_it_went_wrong() -> None:
    w = World()
    w.store.pause()
    w.ask("late, then lost")
    await w.until(0.040)
    w.store.lose_answers = True
    w.store.resume()
    await w.until(0.3)  # with the questions that were lost, too
    w.store.lose_answers = False
    await w.until(1)
    w.ask("in time")
    await w.until(1.1)
    w.store.latency_s = 0.050
    w.ask("late")
    await w.until(1.2)
    w.store.latency_s = 0.001
    await w.until(3)
    counts = w.counts
    assert counts.store_errors >= 1
    assert (counts.late, counts.timeouts) == (1, 2)
    assert counts.answered + counts.late + counts.store_errors == counts.calls == len(w.store.calls)


@in_virtual_time
async def test_one_slow_call_costs_the_time_it_was_late_and_one_answer() -> None:
    w = World()
    w.store.latency_s = 0.050
    w.ask("slow")
    await w.until(0.040)
    w.store.latency_s = 0.001
    await w.until(1)
    assert w.sent() == [["slow"], ["(slow)"]]
    assert not w.is_open()
    assert round(w.calls.breaker.degraded_s(w.loop.time()), 6) == 0.021


@in_virtual_time
async def test_a_frozen_store_is_noticed_in_a_blink_when_it_wakes_and_was_not_flooded() -> None:
    w = World()
    w.store.pause()
    w.ask("a")
    await w.until(18)
    assert w.store.in_flight_max == OUT_MAX
    assert w.sent() == [["a"], ["(a)"], ["(a)"]]
    w.store.resume()
    await w.until(18.01)
    assert not w.is_open()
    assert w.store.in_flight == 0


@in_virtual_time
async def test_a_store_that_raises_is_asked_four_times_a_second_until_it_answers() -> None:
    w = World()
    w.store.reason = "connection refused"
    w.ask("a")
    await w.until(0.002)
    assert (w.told, w.is_open(), w.calls.breaker.reason) == ({"a": (0.0005, "closed")}, True, "away")
    await w.until(10)
    assert 36 <= len(w.store.calls) <= 40
    w.store.reason = None
    await w.until(10.26)
    assert not w.is_open()
    assert w.counts.timeouts == 0


@in_virtual_time
async def test_all_who_wait_are_told_when_one_call_raises_and_what_had_not_left_never_does() -> None:
    w = World()
    w.store.latency_s = 0.002
    w.ask("a")
    await w.until(0.0005)
    w.ask("b")
    await w.until(0.0009)
    w.ask("in line")
    w.store.reason = "gone"
    await w.until(0.1)
    assert w.told == dict.fromkeys(("a", "b", "in line"), (0.001, "closed"))
    assert w.sent()[:2] == [["a"], ["b"]]
    assert ["in line"] not in w.sent()


@in_virtual_time
async def test_a_call_that_is_answered_in_time_after_another_was_given_up_closes_it() -> None:
    w = World()
    w.store.latency_s = 0.100
    w.ask("stuck")
    await w.until(0.025)
    w.store.latency_s = 0.010
    w.ask("fine")
    await w.until(0.0349)
    assert w.is_open()
    await w.until(0.0351)
    assert not w.is_open()
    assert w.told == {"stuck": (0.030, "closed"), "fine": (0.030, "closed")}
    assert (w.counts.answered, w.counts.late) == (0, 1)  # in time by the clock, and nobody waited any more


@in_virtual_time
async def test_answers_to_questions_are_late_while_the_store_is_slow() -> None:
    w = World()
    w.store.latency_s = 0.050
    w.ask("a")
    await w.until(5)
    assert w.is_open()
    assert w.store.in_flight_max <= 2
    w.store.latency_s = 0.010
    await w.until(5.1)
    assert not w.is_open()


@in_virtual_time
async def test_a_script_that_fails_where_all_else_works_trips_it_once_a_second() -> None:
    """Real asks fail, and questions are answered: the worst that can be asked of the breaker."""
    w = World()
    judge = w.store.judge

    def broken(ask: Ask) -> Decision:
        w.store.lose_answers = ask.kind == "take"
        return judge(ask)

    w.store.judge = broken  # type: ignore[method-assign]
    while w.now_s < 30:
        if not w.is_open():
            w.ask("a")
        await w.until(round(w.now_s + 0.01, 6))
    assert 25 <= w.calls.breaker.trips <= 34


@in_virtual_time
async def test_a_process_that_stood_still_blames_nobody() -> None:
    w = World()
    w.ask("a")
    await w.until(0.0002)
    w.loop._hurry.now_s += 0.2  # a tick of 200 ms; the answer is in the socket
    await w.until(0.3)
    assert w.told["a"][1] == "store"
    assert (w.calls.breaker.trips, w.counts.timeouts) == (0, 0)
    w.store.pause()
    w.ask("b")
    await asyncio.sleep(0)
    w.loop._hurry.now_s += 0.2
    await w.until(0.6)
    assert w.told["b"] == (0.505, "closed")


@in_virtual_time
async def test_nor_does_one_whose_look_was_due_at_the_very_end_of_a_standstill() -> None:
    """The look is not late, and the answer is in the socket: a real one, which the loop has not looked at yet."""
    w = World()
    ours, theirs = socket.socketpair()
    arrived: asyncio.Future[bytes] = w.loop.create_future()
    w.loop.add_reader(ours, lambda: arrived.set_result(ours.recv(1)))

    async def decide(asks: Sequence[Ask]) -> Sequence[Decision]:
        await arrived
        return [w.store.judge(ask) for ask in asks]

    w.store.decide = decide  # type: ignore[method-assign]
    w.ask("a")
    await asyncio.sleep(0)
    w.loop.call_later(TIMEOUT_S - 0.001, theirs.send, b"!")  # due just before the look, in the same turn
    w.loop._hurry.now_s += TIMEOUT_S + LATE_S - 0.001
    await w.until(1)
    w.loop.remove_reader(ours)
    ours.close()
    theirs.close()
    assert w.told == {"a": (0.034, "store")}
    assert (w.calls.breaker.trips, w.counts.timeouts, w.counts.late) == (0, 0, 1)


@in_virtual_time
async def test_and_the_turns_that_takes_cost_no_time() -> None:
    w = World()
    w.store.pause()
    w.ask("a")
    await asyncio.sleep(0)
    w.loop._hurry.now_s += TIMEOUT_S + LATE_S - 0.001
    await w.until(1)
    assert w.told == {"a": (0.034, "closed")}


@in_virtual_time
async def test_nor_does_one_that_stands_still_again_and_again() -> None:
    w = World()
    w.store.pause()
    w.ask("a")
    await asyncio.sleep(0)
    for _ in range(3):
        w.loop._hurry.now_s += 0.2
        await asyncio.sleep(0.001)  # a turn of the loop: the look that was due finds itself late
        assert "a" not in w.told
    await w.until(1)
    assert 0.6 < w.told["a"][0] < 0.61


@in_virtual_time
async def test_a_long_tick_is_not_the_stores() -> None:
    w = World()
    w.store.latency_s = 0.020
    w.ask("a")
    w.loop._hurry.now_s += 0.1
    w.ask("b")
    await w.until(1)
    assert w.told == {"a": (0.12, "store"), "b": (0.12, "store")}


@in_virtual_time
async def test_answers_that_grant_nothing_are_learnt_from_however_late() -> None:
    w = World()
    one = Policy("one", (Rule("user", Limit.per(1, 1, burst=1)),))
    w.store.pause()
    for kind in ("take", "take", "peek"):
        w.calls.enter(Ask(one, (b"a",), 1, kind))
    await w.until(1)
    assert w.learnt == []
    w.store.resume()
    await w.until(1.1)
    refused = Decision(0, 1_000_000, 0, 0)
    assert w.learnt[:2] == [("take", refused), ("peek", refused)]


@in_virtual_time
async def test_a_refund_nobody_knows_of_is_told() -> None:
    w = World()
    w.store.lose_answers = True
    w.calls.enter(Ask(POLICY, (b"a",), 1, "refund"))
    await w.until(0.1)
    assert w.learnt == [("refund", None)]


@in_virtual_time
async def test_what_no_store_should_raise_is_seen_and_nobody_waits_for_it() -> None:
    w = World()
    w.store.bug = KeyError("no such limit")
    w.ask("a")
    await w.until(0.01)
    assert w.told["a"][1] == "closed"
    assert isinstance(w.calls.failure, KeyError)


@in_virtual_time
async def test_fewer_answers_than_asks_are_no_answers() -> None:
    w = World()

    w.store.answers_short = 1
    w.ask("a", "b")
    await w.until(0.01)
    assert [source for _, source in w.told.values()] == ["closed", "closed"]
    assert isinstance(w.calls.failure, AssertionError)


@in_virtual_time
async def test_closing_tells_everybody_and_cancels_no_call() -> None:
    w = World()
    w.ask("sent")
    await w.until(0.0002)
    w.ask("not yet")
    w.calls.close()
    w.store.reason = "gone"  # and asked no more
    await w.until(60)
    assert w.told == {"sent": (0.0002, "closed"), "not yet": (0.0002, "closed")}
    assert (w.sent(), w.store.cancelled) == ([["sent"]], 0)
