"""Delivery with a spool: a script of a broker's and a disk's mornings, in virtual time as tests/test_deliver.py.

What is promised to a phone is judged by what a machine would find if it went down at the end: every
record that was answered is in Kafka's log or in the spool.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Deliver
from gateway.core.event import Record
from gateway.core.kept import InKafka, InSpool, Kept
from gateway.core.light import REASONS
from gateway.core.receipt import Outcome
from gateway.deliver import Deliverer
from gateway.kafka import Topic, key_hash
from tests.fakes import FakeBroker, VirtualLoop, count, in_virtual_time, new_slot
from tests.memory_spool import MemorySpool
from tests.records import Stored, made, stored

D, S, R, W, U = Outcome.DURABLE, Outcome.SPOOLED, Outcome.REFUSED, Outcome.WITHDRAWN, Outcome.UNKNOWN
SYNCS: Final = Topic("syncs.v1", 2, copies=3, in_sync_min=2, batch_bytes_max=1_000_000)
SIGNUPS: Final = Topic("signups.v1", 1, copies=3, in_sync_min=2, batch_bytes_max=1_000_000)
LANE_0, LANE_1 = (next(key for key in (b"u%d" % n for n in range(99)) if key_hash(key) % 2 == lane) for lane in (0, 1))
TICK_S: Final = 0.05
HEDGE_S: Final = 0.25
TOLD_S: Final = HEDGE_S + 1.1 * TICK_S
TIMEOUT_S: Final = 5.0


def opened() -> MemorySpool:
    spool = MemorySpool()
    spool.recover()
    return spool


class World:
    """A deliverer between a fake broker and a spool in memory."""

    def __init__(self, *topics: Topic, spool: MemorySpool | None = None, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._loop = loop
        self._started_s = loop.time()
        self.broker = FakeBroker(*(topics or (SYNCS, SIGNUPS)))
        self.spool = spool or opened()
        self.slot = new_slot()
        self.settings = settings
        self.acknowledged: list[str] = []
        self.deliverer = Deliverer(Deliver(**settings), self.broker, loop.clock, self.slot, self.spool, on_acknowledged=self._acknowledge)

    def _acknowledge(self, records: Sequence[Record]) -> None:
        self.acknowledged += [one.event_id for one in records]

    @property
    def now_s(self) -> float:
        return round(self._loop.time() - self._started_s, 6)

    async def until(self, instant_s: float) -> None:
        assert instant_s >= self.now_s
        await asyncio.sleep(instant_s - self.now_s)

    def send(self, *names: str, key: bytes = LANE_0, kind: str = "syncs", size: int = 0) -> "Call":
        """One request; its answer and when it came."""
        return Call(self, kind, [made(name, key, name.encode(), size=size) for name in names])

    async def next_life(self) -> None:
        """The process is killed and another one starts on the same disk."""
        await self.deliverer.stop()
        self.broker.resume()  # a contact with the real one ends after a while, the fake's never
        self.spool = self.spool.after_a_crash()
        self.slot = new_slot()
        self.deliverer = Deliverer(Deliver(**self.settings), self.broker, self._loop.clock, self.slot, self.spool)
        await self.deliverer.start(is_strict=False)

    def log(self, topic: str = "syncs.v1", key: bytes | None = None) -> list[str]:
        """The names stored, in order."""
        return [one.value.decode() for _, one in self.broker.log(topic) if key is None or one.key == key]

    def marked(self, topic: str = "syncs.v1") -> list[str]:
        """Of these, the ones that say they are replayed."""
        return [one.value.decode() for _, one in self.broker.log(topic) if is_marked(one)]

    def counted(self, name: str, *labels: str) -> int:
        return count(self.slot, f"sluicegate_{name}", *labels)

    @property
    def light(self) -> str:
        return REASONS[int(self.slot.gauge("sluicegate_kafka_reason").value)].code


def is_marked(one: Stored) -> bool:
    return one.headers[-1:] == (("replay", b"true"),)


class Call:
    """One request."""

    def __init__(self, w: World, kind: str, records: list[Record]) -> None:
        self.records = records
        self.key = records[0].key
        self.began_s = w.now_s
        self.ended_s = 0.0
        self.kept: Kept | None = None
        self._w = w
        self.task = asyncio.get_running_loop().create_task(self._run(kind))

    async def _run(self, kind: str) -> Sequence[Outcome]:
        settled = await self._w.deliverer.deliver(kind, self.records, None)
        self.ended_s, self.kept = self._w.now_s, settled.kept
        return settled.outcomes

    @property
    def took_s(self) -> float:
        return self.ended_s - self.began_s

    @property
    def told(self) -> Sequence[Outcome] | None:
        return self.task.result() if self.task.done() else None


async def answered(*calls: Call) -> list[Sequence[Outcome]]:
    return [await call.task for call in calls]


@asynccontextmanager
async def world(*topics: Topic, spool: MemorySpool | None = None, **settings: Any) -> AsyncIterator[World]:
    """A world that has started; nothing of it may have died by its end."""
    made = World(*topics, spool=spool, **settings)
    await made.deliverer.start(is_strict=False)
    try:
        yield made
        assert made.deliverer.failed() is None
    finally:
        await made.deliverer.stop()


# On a good day


@in_virtual_time
async def test_a_broker_that_answers_never_meets_the_spool() -> None:
    async with world() as w:
        w.broker.latency_s = 0.1
        assert await answered(*[w.send(str(n)) for n in range(20)]) == [[D]] * 20
        assert (w.spool.appends, w.marked()) == ([], [])


@in_virtual_time
async def test_a_slow_ack_is_answered_from_the_spool_and_cancels_the_copy() -> None:
    async with world() as w:
        w.broker.latency_s = 0.4
        call = w.send("a", "b")
        assert await call.task == [S, S]
        assert HEDGE_S <= call.took_s < TOLD_S
        assert [record.event_id for record in w.spool.records] == ["a", "b"]
        await w.until(0.5)
        assert (w.spool.records, w.log(), w.marked()) == ([], ["a", "b"], [])
        assert w.broker.batches == [["a", "b"]]
        assert (w.counted("events_total", "syncs", "spooled"), w.counted("events_total", "syncs", "durable")) == (2, 0)
        assert w.deliverer.held_bytes == 0


@in_virtual_time
async def test_whoever_is_told_is_told_where() -> None:
    """Offsets of the partition; or the spool and the last sequence, and a late acknowledgement changes nothing of that."""
    async with world() as w:
        calls = [w.send("a", "b"), w.send("c")]
        await answered(*calls)
        assert [call.kept for call in calls] == [InKafka("syncs", 0, 0, 1), InKafka("syncs", 0, 2, 2)]
        w.broker.forget_offsets = 1
        await answered(nowhere := w.send("d"))
        assert nowhere.kept == InKafka("syncs", 0, -1, -1)
        w.broker.latency_s = 0.4
        spooled = w.send("e", "f")
        assert await spooled.task == [S, S]
        assert spooled.kept == InSpool(w.spool.spool_id, 2)
        await w.until(1)
        assert (w.spool.records, spooled.kept) == ([], InSpool(w.spool.spool_id, 2))
        assert w.spool.watermarks() == {w.spool.spool_id: 3}


@in_virtual_time
async def test_a_request_of_which_one_half_is_spooled_has_the_weaker_receipt() -> None:
    async with world(batch_bytes_max=1_000) as w:
        w.broker.latency_s = 0.2
        call = w.send("a", "b", "c", size=400)
        assert await call.task == [D, D, S]
        assert sorted(w.acknowledged) == sorted(one.event_id for one in call.records)
        assert call.kept == InSpool(w.spool.spool_id, 1)


@in_virtual_time
async def test_who_is_told_that_nothing_is_kept_has_no_receipt() -> None:
    async with world() as w:
        w.spool.is_broken = True
        w.broker.pause()
        call = w.send("a")
        assert await call.task == [U]
        assert call.kept is None


@in_virtual_time
async def test_what_queues_behind_a_slow_batch_is_copied_too_and_sent_once() -> None:
    async with world() as w:
        w.broker.latency_s = 0.6
        first = w.send("a")
        await w.until(0.1)
        second = w.send("b")
        await w.until(0.45)
        assert (first.told, second.told) == ([S], [S])
        third = w.send("c")
        await w.until(2)
        assert third.told == [S]
        assert (w.log(), w.marked(), w.spool.records) == (["a", "b", "c"], [], [])


@in_virtual_time
async def test_the_wait_is_hedge_ms_however_short() -> None:
    async with world(hedge_ms=20) as w:
        w.broker.pause()
        call = w.send("a")
        await call.task
        assert 0.02 <= call.took_s <= 0.025


@in_virtual_time
async def test_an_ack_while_the_copy_is_being_written_is_the_better_answer() -> None:
    async with world() as w:
        w.broker.latency_s, w.spool.latency_s = 0.3, 0.2
        assert await w.send("a").task == [D]
        await w.until(1)
        assert (w.spool.records, w.log()) == ([], ["a"])


# When Kafka is away


@in_virtual_time
async def test_a_broker_that_is_paused_for_a_minute_costs_nobody_a_sync() -> None:
    """Ten requests a second: all answered in time, all stored in order, the replay starts at once and is soon over."""
    async with world() as w:
        calls = [w.send("0"), w.send("0'", key=LANE_1)]
        for n in range(1, 700):
            await w.until(n / 10)
            if n == 10:
                w.broker.pause()
            if n == 610:
                w.broker.resume()
            assert w.deliverer.is_open("syncs"), w.now_s
            calls.append(w.send(str(n), key=(LANE_0, LANE_1)[n % 2]))
        await w.until(71)
        assert {tuple(told) for told in await answered(*calls)} == {(D,), (S,)}
        assert max(call.took_s for call in calls) < TOLD_S
        # Once the producer was given up nothing waits for a hedge any more.
        assert all(call.took_s < 0.01 for call in calls if 7 < call.began_s < 60)
        for key in (LANE_0, LANE_1):
            stored_names = list(dict.fromkeys(w.log(key=key)))
            assert stored_names == [call.records[0].event_id for call in calls if call.key == key]
        assert calls[-1].told == [D]
        assert (w.spool.records, w.deliverer.held_bytes) == ([], 0)
        assert w.light == "ok"
        repeated = [name for name in set(w.log()) if w.log().count(name) > 1]
        assert set(repeated) <= set(w.marked())


@in_virtual_time
async def test_a_broker_that_is_killed_turns_every_lane_to_the_spool_at_once() -> None:
    async with world() as w:
        w.broker.latency_s = 1
        first = w.send("a")
        await w.until(0.1)
        w.broker.kill()
        assert await first.task == [S]
        assert w.now_s < 0.11
        assert w.deliverer.is_open("syncs")
        later, other = w.send("b"), w.send("c", key=LANE_1)
        assert await answered(later, other) == [[S], [S]]
        assert w.now_s < 0.12
        w.broker.latency_s = 0
        w.broker.revive()
        await w.until(2)
        assert sorted(w.log()) == ["a", "b", "c"] == sorted(w.marked())
        assert w.log(key=LANE_0) == ["a", "b"]
        assert w.spool.records == []
        assert await w.send("d").task == [D]
        assert w.marked()[-1] != "d"
        assert w.counted("spool_replayed_total") == 3


@in_virtual_time
async def test_a_lost_ack_is_repeated_from_the_spool_and_says_so() -> None:
    async with world() as w:
        w.broker.lose_acks = 1
        assert await w.send("a").task == [S]
        await w.until(TICK_S / 2)  # at once: nobody waits for the watcher
        assert (w.log(), w.marked()) == (["a", "a"], ["a"])


@in_virtual_time
async def test_a_replay_that_hangs_ends_its_producer_like_any_other_batch() -> None:
    async with world() as w:
        w.broker.kill()
        assert await w.send("a").task == [S]
        w.broker.latency_s = 60
        w.broker.revive()
        await w.until(3)
        assert w.broker.sending == 1
        w.broker.latency_s = 0
        rebuilds = w.counted("kafka_rebuilds_total")
        await w.until(TIMEOUT_S + 2)
        assert w.log() == ["a"]
        assert w.counted("kafka_rebuilds_total") > rebuilds


@in_virtual_time
async def test_while_spooling_an_answer_takes_two_writes_at_most() -> None:
    """What comes during one shares the next."""
    async with world() as w:
        w.broker.kill()
        await w.send("first").task
        w.spool.latency_s = 0.01
        calls = []
        for n in range(200):
            calls.append(w.send(str(n)))
            await w.until(0.1 + n / 1_000)
        assert all(told == [S] for told in await answered(*calls))
        assert max(call.took_s for call in calls[1:]) < 0.021
        assert len(w.spool.appends) < 30
        await w.until(1)
        calls = [w.send("begins a write")]
        await w.until(1.001)
        calls.append(w.send("comes meanwhile, and nobody after it"))
        await answered(*calls)
        assert calls[1].took_s < 0.021


@in_virtual_time
async def test_what_waits_for_a_topic_that_has_another_name_now_is_told(caplog: pytest.LogCaptureFixture) -> None:
    spool = opened()
    await spool.append("syncs.v0", 0, [made("old", LANE_0)])
    async with world(spool=spool) as w:
        assert "records wait for topics that the settings do not name" in caplog.text
        assert await w.send("a").task == [D]
        assert w.spool.waiting() == {("syncs.v0", 0): 1}


@in_virtual_time
async def test_kafka_away_at_start_closes_the_door_until_partitions_are_known() -> None:
    made = World()
    made.broker.kill()
    await made.deliverer.start(is_strict=True)
    assert not made.deliverer.is_open("syncs")
    made.broker.revive()
    await made.until(1.1)
    assert await made.send("a").task == [D]
    await made.deliverer.stop()


@in_virtual_time
async def test_kafka_away_at_start_is_no_reason_to_refuse_where_its_partitions_are_known() -> None:
    made = World()
    made.broker.kill()
    await made.deliverer.start(is_strict=True, known={"syncs.v1": SYNCS, "signups.v1": SIGNUPS})
    assert (made.deliverer.is_open("syncs"), made.light) == (True, "connecting")
    calls = [made.send("a"), made.send("b", key=LANE_1), made.send("s", kind="signups")]
    assert await answered(*calls) == [[S], [S], [S]]
    made.broker.revive()
    await made.until(1.5)
    assert (sorted(made.log()), made.log("signups.v1"), made.spool.records) == (["a", "b"], ["s"], [])
    assert await made.send("c").task == [D]
    await made.deliverer.stop()


# When a partition fails


@in_virtual_time
async def test_a_failing_partition_spools_alone_and_is_tried_ever_less_often() -> None:
    async with world() as w:
        w.broker.fail = lambda _topic, partition: partition == 0
        calls, fine = [], []
        for n in range(200):
            calls.append(w.send(f"x{n}"))
            fine.append(w.send(f"{n}", key=LANE_1))
            await w.until((n + 1) / 10)
        assert all(told == [D] for told in await answered(*fine))
        assert all(told == [S] for told in await answered(*calls))
        assert max(call.took_s for call in calls) < HEDGE_S
        assert len([batch for batch in w.broker.batches if batch[0].startswith("x")]) < 25
        assert w.counted("kafka_rebuilds_total") == 0
        w.broker.fail = lambda _topic, _partition: False
        await w.until(30)
        assert w.log(key=LANE_0) == [f"x{n}" for n in range(200)]
        assert w.spool.records == []
        assert await w.send("again").task == [D]


@in_virtual_time
async def test_a_record_refused_after_its_202_is_set_apart_and_blocks_nobody() -> None:
    async with world() as w:
        w.broker.refuse = lambda record: record.event_id == "bad"
        w.broker.pause()
        calls = [w.send(name) for name in ("a", "bad", "c")]
        await w.until(6)
        assert await answered(*calls) == [[S], [S], [S]]
        w.broker.resume()
        await w.until(10)
        assert w.log() == ["a", "c"]
        assert [record.event_id for _, record in w.spool.rejected] == ["bad"]
        assert (w.spool.records, w.counted("spool_rejected_total")) == ([], 1)
        assert await w.send("d").task == [D]


@in_virtual_time
async def test_a_record_refused_before_any_answer_is_refused() -> None:
    async with world() as w:
        w.broker.refuse = lambda record: record.event_id == "bad"
        assert await w.send("a", "bad", "c").task == [D, R, D]
        assert (w.spool.appends, w.spool.rejected) == ([], [])


@in_virtual_time
async def test_the_largest_record_that_is_taken_fits_from_the_spool_too() -> None:
    """With the header that says so, by the topic's own bound."""
    async with world(SYNCS._replace(batch_bytes_max=2_000), SIGNUPS) as w:
        sizes = range(1_850, 2_001)
        w.broker.lose_acks = 10**6
        calls = [w.send(str(size), size=size) for size in sizes]
        await asyncio.sleep(1)
        w.broker.lose_acks = 0
        await w.until(30)
        told = await answered(*calls)
        assert told.count([S]) > 60
        assert told.count([R]) + told.count([S]) == len(calls)
        assert (w.spool.rejected, w.spool.records) == ([], [])


# When the disk fails


@in_virtual_time
async def test_a_full_spool_leaves_what_there_was_without_one() -> None:
    """Nobody is told spooled, and Kafka is the only judge."""
    async with world(batch_bytes_max=1_024) as w:
        w.spool.records_max = 0
        w.broker.pause()
        sent, waiting = w.send("a", size=800), w.send("b", size=800)
        assert await answered(sent, waiting) == [[U], [W]]
        assert TIMEOUT_S <= w.now_s <= TIMEOUT_S + 2 * TICK_S
        assert not w.deliverer.is_open("syncs")
        w.broker.resume()
        await w.until(TIMEOUT_S + 2)
        assert await w.send("c").task == [D]
        assert (w.spool.appends, w.marked()) == ([], [])


@in_virtual_time
async def test_a_spool_that_fills_takes_what_it_can_and_the_rest_is_refused() -> None:
    async with world() as w:
        w.spool.records_max = 5
        w.broker.kill()
        calls = []
        for n in range(20):
            calls.append(w.send(str(n)))
            await w.until((n + 1) / 10)
        await w.until(10)
        told = [list(one) for one in await answered(*calls)]
        assert told[:5] == [[S]] * 5
        assert S not in [one for outcomes in told[5:] for one in outcomes]
        assert not w.deliverer.is_open("syncs")
        w.broker.revive()
        await w.until(15)
        assert set(w.log()) >= {str(n) for n in range(5)}
        assert w.deliverer.is_open("syncs")
        assert await w.send("now").task == [D]
        assert (w.spool.records, w.deliverer.held_bytes) == ([], 0)


@in_virtual_time
async def test_a_lost_write_is_no_answer_and_the_record_is_written_again_when_the_disk_is_back() -> None:
    async with world() as w:
        w.spool.fail_writes = 1
        w.broker.pause()
        call = w.send("a")
        await w.until(HEDGE_S + 2 * TICK_S)
        assert call.told is None
        assert await call.task == [S]
        assert 1 < w.now_s < 2  # it is asked again after a second, not at once
        assert w.spool.appends == [["a"], ["a"]]


@in_virtual_time
async def test_a_disk_that_fails_leaves_kafka() -> None:
    async with world() as w:
        w.spool.is_broken = True
        for n in range(5):
            w.broker.kill()
            await asyncio.sleep(0.3)
            w.broker.revive()
            await asyncio.sleep(2)
            assert await w.send(str(n)).task == [D]
        assert w.spool.appends == []


@in_virtual_time
async def test_a_spool_that_hangs_is_not_waited_for() -> None:
    """Its requests have their deadline; nobody else is sent there; when it answers one day, nothing of that is left."""
    async with world() as w:
        w.spool.hang()
        w.broker.pause()
        call = w.send("a")
        await w.until(HEDGE_S + 1 + 3 * TICK_S)
        assert not w.deliverer._is_spool_open("syncs")
        assert await call.task == [U]
        assert w.now_s <= TIMEOUT_S + 2 * TICK_S
        w.broker.resume()
        await w.until(8)
        assert await w.send("b").task == [D]
        assert len(w.spool.appends) == 1
        w.spool.go_on()
        await w.until(9)
        assert w.spool.records == []
        w.broker.pause()
        assert await w.send("c").task == [S]  # it is trusted again


@in_virtual_time
async def test_a_write_that_ends_late_still_counts() -> None:
    async with world() as w:
        w.spool.hang()
        w.broker.kill()
        call = w.send("a")
        await w.until(3)
        assert call.told is None
        w.spool.go_on()
        assert await call.task == [S]
        w.broker.revive()
        await w.until(5)
        assert w.log() == ["a"] == w.marked()


class BuggySpool(MemorySpool):
    """Whose appends end with what nobody raises on purpose."""

    def append(self, *_: object, **__: object) -> "asyncio.Future[range]":
        future = asyncio.get_running_loop().create_future()
        future.set_exception(ZeroDivisionError())
        return future


@in_virtual_time
async def test_a_bug_in_the_spool_is_told() -> None:
    spool = BuggySpool()
    spool.recover()
    made = World(spool=spool)
    await made.deliverer.start(is_strict=False)
    assert made.deliverer.failed() is None
    made.broker.pause()
    made.send("a")
    await made.until(0.5)
    assert isinstance(made.deliverer.failed(), ZeroDivisionError)
    await made.deliverer.stop()


# Bounds


@in_virtual_time
async def test_memory_is_freed_by_the_spool_when_too_much_is_held() -> None:
    """While a batch hangs the others behind it are copied and kept; at half the bound only the batch is."""
    async with world(in_flight_bytes_max=1_000_000, batch_bytes_max=10_000, timeout_ms=60_000) as w:
        w.broker.pause()
        held, calls = [], []
        for n in range(2_000):
            await w.until(n / 100)
            calls.append(w.send(str(n), size=1_000))
            held.append(w.deliverer.held_bytes)
        await w.until(21)
        assert all(told == [S] for told in await answered(*calls))
        assert max(held) < 600_000
        assert w.deliverer.held_bytes <= 10_000
        assert w.counted("kafka_rebuilds_total") == 0
        w.broker.resume()
        await w.until(25)
        assert list(dict.fromkeys(w.log())) == [str(n) for n in range(2_000)] == w.log()
        assert w.marked()
        assert (w.spool.records, w.deliverer.held_bytes) == ([], 0)


@in_virtual_time
async def test_the_replay_goes_at_full_speed_and_its_lane_flows_under_load() -> None:
    """A backlog of ten thousand beside 200 new ones a second, 5 ms an ack and 4 ms a write: it ends, and flows."""
    async with world(SYNCS._replace(partitions=1), SIGNUPS) as w:
        w.spool.latency_s = 0.004
        w.broker.kill()
        backlog = [w.send(*[f"{n}.{m}" for m in range(100)], size=1_000) for n in range(100)]
        await answered(*backlog)
        w.broker.latency_s = 0.005
        w.broker.revive()
        began_s = w.now_s
        calls = []
        for n in range(1_000):
            await w.until(began_s + n / 200)
            calls.append(w.send(str(n)))
        await answered(*calls)
        flowed = [call for call in calls if call.told == [D]]
        assert flowed[0].began_s - began_s < 1.5
        assert all(call.told == [D] for call in calls if call.began_s > began_s + 1.5)
        assert max(call.took_s for call in calls) < 0.1
        names = [record.event_id for call in [*backlog, *calls] for record in call.records]
        assert list(dict.fromkeys(w.log())) == names


# Start and stop


@in_virtual_time
async def test_a_backlog_of_an_earlier_life_goes_before_what_is_new() -> None:
    async with world() as w:
        w.broker.kill()
        old = [w.send(f"old{n}") for n in range(50)]
        await answered(*old)
        await w.next_life()
        w.broker.latency_s = 0.3
        w.broker.revive()
        await w.until(0.3)
        new = [w.send(f"new{n}") for n in range(3)]
        await w.until(5)
        assert w.log() == [f"old{n}" for n in range(50)] + ["new0", "new1", "new2"]
        assert {tuple(told) for told in await answered(*new)} <= {(S,), (D,)}
        assert w.spool.records == []


@in_virtual_time
async def test_what_was_acknowledged_late_may_come_twice_after_a_crash_and_says_so() -> None:
    """The cancellation is kept in memory; a write that failed may be there all the same."""
    async with world() as w:
        w.spool.fail_writes, w.spool.is_written = 1, True
        w.broker.latency_s = 0.9
        assert await w.send("a").task == [D]
        w.broker.latency_s = 0
        await w.next_life()
        await w.until(3)
        assert (w.log(), w.marked()) == (["a", "a"], ["a"])


@in_virtual_time
async def test_records_that_are_found_later_are_replayed_beside_ours() -> None:
    async with world() as w:
        assert await w.send("a").task == [D]
        w.spool.append("syncs.v1", 0, [made("adopted", LANE_0, b"adopted")])
        await w.until(1)
        assert w.log() == ["a"]
        w.spool.on_found()
        await w.until(2)
        assert w.log() == ["a", "adopted"]
        assert await w.send("b").task == [D]


@in_virtual_time
async def test_what_was_accepted_for_a_partition_that_is_gone_goes_where_its_key_belongs_now() -> None:
    """The topic was made anew, smaller, while Kafka was away; or while its last partition failed."""
    for is_away in (True, False):
        async with world() as w:
            if is_away:
                w.broker.kill()
            else:
                w.broker.fail = lambda _topic, partition: partition == 1
            assert await w.send("a", key=LANE_1).task == [S]
            w.broker.put_topic(SYNCS._replace(partitions=1))
            if is_away:
                w.broker.revive()
            await w.until(120)
            assert (w.log(), w.spool.waiting()) == (["a"], {})
            sent = len(w.broker.batches)
            await w.until(600)
            assert len(w.broker.batches) == sent
            assert await w.send("b", key=LANE_1).task == [D]


@in_virtual_time
async def test_flush_waits_for_kafka_as_long_as_its_share_and_spools_the_rest() -> None:
    async with world(hedge_ms=4_000) as w:
        w.broker.latency_s = 0.5
        calls = [w.send(str(n), key=(LANE_0, LANE_1)[n % 2]) for n in range(100)]
        await asyncio.sleep(0)
        await w.deliverer.flush(2)
        assert 0.5 <= w.now_s < 0.6
        assert await answered(*calls) == [[D]] * 100
        w.broker.pause()
        began_s = w.now_s
        calls = [w.send(f"late{n}", key=(LANE_0, LANE_1)[n % 2]) for n in range(100)]
        await asyncio.sleep(0)
        await w.deliverer.flush(2)
        assert 2 <= w.now_s - began_s < 2.2
        assert await answered(*calls) == [[S]] * 100
        await w.next_life()
        await w.until(5)
        assert set(w.log()) == {str(n) for n in range(100)} | {f"late{n}" for n in range(100)}


@in_virtual_time
async def test_flush_is_quick_when_kafka_is_away() -> None:
    async with world() as w:
        w.broker.kill()
        calls = [w.send(str(n)) for n in range(1_000)]
        await asyncio.sleep(0.01)
        await w.deliverer.flush(2)
        assert w.now_s < 0.2
        assert await answered(*calls) == [[S]] * 1_000
        assert len(w.spool.records) == 1_000


@in_virtual_time
async def test_flush_ends_by_the_deadline_of_its_last_request_when_the_disk_hangs_too() -> None:
    async with world() as w:
        w.spool.hang()
        w.broker.pause()
        call = w.send("a")
        await asyncio.sleep(0)
        await w.deliverer.flush(2)
        assert await call.task == [U]
        assert w.now_s <= TIMEOUT_S + 0.2


# Any morning

switches = st.sampled_from(
    ["pause", "resume", "kill", "revive", "lose", "slow", "fast", "hang", "go_on", "full", "roomy", "write_lost", "write_there", "slow_disk"]
)
calls_ = st.tuples(st.integers(0, 3), st.integers(1, 3), st.booleans())  # whose, how many records, is one of them poison
moments = st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.04, 0.3, 1.5, 6.0]), switches | calls_ | st.just("crash")), max_size=25)


@given(moments)
def test_whatever_the_broker_and_the_disk_do_the_promises_hold(script: list[tuple[float, str | tuple[int, int, bool]]]) -> None:
    """Everyone is told in time; durable is stored, spooled is stored or rejected in the end; what was withdrawn is nowhere; order holds."""

    @in_virtual_time
    async def play() -> None:
        async with world(batch_bytes_max=1_024) as w:
            w.broker.refuse = lambda record: record.event_id.endswith("!")
            requests: list[Call] = []
            lives: list[list[Call]] = [[]]
            rejected: list[str] = []
            for pause_s, action in script:
                await asyncio.sleep(pause_s)
                if action == "crash":
                    rejected += [record.event_id for _, record in w.spool.rejected]
                    await w.next_life()
                    lives.append([])
                elif isinstance(action, str):
                    flip(w, action)
                else:
                    who, many, has_poison = action
                    names = [f"{len(requests)}.{n}" + "!" * (has_poison and n == many - 1) for n in range(many)]
                    call = Call(w, "syncs", [made(name, b"u%d" % who, name.encode()) for name in names])
                    requests.append(call)
                    lives[-1].append(call)
                    await asyncio.sleep(0)
            for switch in ("revive", "resume", "fast", "go_on", "roomy"):
                flip(w, switch)
            w.broker.lose_acks = w.spool.fail_writes = 0
            await asyncio.sleep(TIMEOUT_S + 20)
            rejected += [record.event_id for _, record in w.spool.rejected]
            check(w, lives, rejected)
            for key in (b"u0", b"u1"):
                await w.send("any", key=key).task  # the first may find the producer broken
            await asyncio.sleep(2)
            for key in (b"u0", b"u1"):
                assert await w.send("fine", key=key).task == [D]

    play()


def flip(w: World, switch: str) -> None:
    match switch:
        case "lose":
            w.broker.lose_acks += 1
        case "slow" | "fast":
            w.broker.latency_s, w.spool.latency_s = (2.0 if switch == "slow" else 0.0), 0.0
        case "slow_disk":
            w.spool.latency_s = 0.4
        case "hang" | "go_on":
            getattr(w.spool, switch)()
        case "full" | "roomy":
            w.spool.records_max = 1 if switch == "full" else None
        case "write_lost" | "write_there":
            w.spool.fail_writes, w.spool.is_written = 1, switch == "write_there"
        case _:
            getattr(w.broker, switch)()


def check(w: World, lives: Sequence[Sequence[Call]], rejected: Sequence[str]) -> None:
    log, marked = w.log(), w.marked()
    for life in lives:
        accepted: dict[bytes, list[str]] = {}
        for call in life:
            if call.told is None:
                assert life is not lives[-1]  # it was killed before it could say anything
                continue
            assert call.took_s <= TIMEOUT_S + 2 * TICK_S
            for record, outcome in zip(call.records, call.told, strict=True):
                name = record.event_id
                match outcome:
                    case Outcome.DURABLE | Outcome.SPOOLED:
                        assert name in log or (outcome is S and name in rejected)
                        if name in log:
                            accepted.setdefault(call.key, []).append(name)
                    case Outcome.REFUSED:
                        assert name.endswith("!")
                        assert name not in rejected, "nothing is kept"
                    case Outcome.WITHDRAWN:
                        assert name not in log
        for names in accepted.values():  # the first copy of each stands in the order they came
            assert [log.index(name) for name in names] == sorted(log.index(name) for name in names)
    unsure = {
        record.event_id for life in lives for call in life for record, told in zip(call.records, call.told or [U] * len(call.records), strict=True) if told is U
    }
    plain = Counter(one.value.decode() for _, one in w.broker.log("syncs.v1") if not is_marked(one))
    assert {name for name, times in plain.items() if times > 1} <= unsure, "what comes again says so, or nobody knew"
    assert not any(name.endswith("!") for name in log)
    assert set(rejected) <= {name for life in lives for call in life for name in (record.event_id for record in call.records) if name.endswith("!")}
    assert (w.spool.records, w.deliverer.held_bytes) == ([], 0)
    assert all(running <= 1 for running in w.broker.sending_max.values())
    assert marked == [one.value.decode() for _, one in w.broker.log("syncs.v1") if is_marked(one)]


def test_the_mark_is_a_header_like_any_other() -> None:
    assert not is_marked(stored(made("a")))
