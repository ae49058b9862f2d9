"""Events → durable, or an honest "unknown" within their deadline: a script of a broker's mornings.

All in virtual time (tests/fakes.py): a test of thirty seconds takes a millisecond, and its
sleeps are the script's own instants, never a guess how long something takes.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Deliver
from gateway.core.event import Record
from gateway.core.light import REASONS
from gateway.core.receipt import Outcome
from gateway.deliver import Deliverer
from gateway.errors import BrokerAway, ConfigError
from gateway.kafka import Topic, key_hash
from tests.fakes import FakeBroker, VirtualLoop, count, in_virtual_time, new_slot
from tests.records import made, stored

D, R, W, U = Outcome.DURABLE, Outcome.REFUSED, Outcome.WITHDRAWN, Outcome.UNKNOWN
SYNCS: Final = Topic("syncs.v1", 2, copies=3, in_sync_min=2, batch_bytes_max=1_000_000)
SIGNUPS: Final = Topic("signups.v1", 1, copies=3, in_sync_min=2, batch_bytes_max=1_000_000)
TICK_S: Final = 0.05
LINGER_S: Final = 0.002
LANE_0, LANE_1 = (next(key for key in (b"u%d" % n for n in range(99)) if key_hash(key) % 2 == lane) for lane in (0, 1))
TIMEOUT_S: Final = 5.0


def record(name: str, size: int = 100, *, key: bytes = b"u1", value: bytes = b"{}") -> Record:
    return made(name, key, value, size=size)


def value_of(one: Record) -> bytes:
    return stored(one).value


class World:
    """A deliverer before a fake broker, in a loop's virtual time."""

    def __init__(self, *topics: Topic, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._loop = loop
        self._started_s = loop.time()
        self.broker = FakeBroker(*(topics or (SYNCS, SIGNUPS)))
        self.slot = new_slot()
        self.acknowledged: list[str] = []
        self.deliverer = Deliverer(Deliver(**settings), self.broker, loop.clock, self.slot, on_acknowledged=self._acknowledge)

    def _acknowledge(self, records: Sequence[Record]) -> None:
        self.acknowledged += [one.event_id for one in records]

    @property
    def now_s(self) -> float:
        return round(self._loop.time() - self._started_s, 6)

    async def until(self, instant_s: float) -> None:
        """Go on to an instant of the script."""
        assert instant_s >= self.now_s
        await asyncio.sleep(instant_s - self.now_s)

    def send(self, *names: str, size: int = 100, key: bytes = b"u1", kind: str = "syncs") -> "asyncio.Task[Sequence[Outcome]]":
        """One request with these records."""
        records = [record(name, size, key=key) for name in names]
        return asyncio.get_running_loop().create_task(_outcomes(self.deliverer, kind, records))

    def stored(self, topic: str = "syncs.v1") -> int:
        return len(self.broker.log(topic))

    def counted(self, name: str, *labels: str) -> int:
        return count(self.slot, f"sluicegate_{name}", *labels)

    @property
    def light(self) -> str:
        return REASONS[int(self.slot.gauge("sluicegate_kafka_reason").value)].code


async def _outcomes(deliverer: Deliverer, kind: str, records: Sequence[Record]) -> Sequence[Outcome]:
    return (await deliverer.deliver(kind, records, None)).outcomes


@asynccontextmanager
async def world(*topics: Topic, is_strict: bool = False, **settings: Any) -> AsyncIterator[World]:
    """A world that has started; nothing of it may have died by its end."""
    made = World(*topics, **settings)
    await made.deliverer.start(is_strict=is_strict)
    try:
        yield made
        assert made.deliverer.failed() is None
    finally:
        await made.deliverer.stop()
        assert made.broker.is_closed


# On a good day


@in_virtual_time
async def test_an_event_of_an_idle_lane_waits_for_company_and_no_longer() -> None:
    async with world() as w:
        first = w.send("a")
        await w.until(LINGER_S / 2)
        second = w.send("b")
        assert w.broker.batches == []
        await asyncio.wait([first, second])
        assert LINGER_S <= w.now_s < LINGER_S * 1.5
        assert w.broker.batches == [["a", "b"]]
        assert (first.result(), second.result()) == ([D], [D])


@in_virtual_time
async def test_under_load_the_next_batch_fills_while_one_is_in_flight() -> None:
    """What came meanwhile leaves with the ack."""
    async with world(linger_ms=0) as w:
        w.broker.latency_s = 0.5
        requests = [w.send("0")]
        for n in range(1, 10):
            await w.until(n * 0.04)
            requests.append(w.send(str(n)))
        await asyncio.wait(requests)
        assert w.broker.batches == [["0"], [str(n) for n in range(1, 10)]]
        assert abs(w.now_s - 1.0) < 0.01
        assert w.broker.sending_max == {("syncs.v1", key_hash(b"u1") % 2): 1}


async def sent(w: World, batches: int, within_s: float) -> float:
    """When so many batches have been sent."""
    until_s = w.now_s + within_s
    while len(w.broker.batches) < batches:
        assert w.now_s < until_s, w.broker.batches
        await asyncio.sleep(0.0001)
    return w.now_s


@in_virtual_time
async def test_lanes_leave_together() -> None:
    """One request carries the batches of many: who comes while others are in flight leaves with what came for those."""
    async with world() as w:
        w.broker.latency_s = 0.010
        requests = [w.send("a", key=LANE_0)]
        await sent(w, 1, LINGER_S * 1.5)
        await w.until(0.004)
        requests += [w.send("b", key=LANE_1), w.send("c", key=LANE_0)]
        assert abs(await sent(w, 3, 1.0) - (LINGER_S + 0.010 + LINGER_S)) < 0.001
        assert sorted(w.broker.batches) == [["a"], ["b"], ["c"]]
        await asyncio.wait(requests)


@in_virtual_time
async def test_an_acknowledgement_that_does_not_come_holds_other_lanes_up_for_a_moment_only() -> None:
    async with world() as w:
        w.broker.latency_s = 3.0
        stuck = w.send("a", key=LANE_0)
        await sent(w, 1, LINGER_S * 1.5)
        w.broker.latency_s = 0.0
        began_s = w.now_s
        assert await w.send("b", key=LANE_1) == [D]
        assert LINGER_S < w.now_s - began_s < 0.025
        assert await stuck == [D]


@in_virtual_time
@pytest.mark.parametrize(("size", "waits_s"), [(8_000, LINGER_S), (9_000, 0.0)])
async def test_a_full_batch_does_not_wait_for_company(size: int, waits_s: float) -> None:
    async with world() as w:
        w.broker.latency_s = 0.010
        requests = [w.send("a")]
        await sent(w, 1, LINGER_S * 1.5)
        requests += [w.send("b", size=size), w.send("c", size=size)]
        assert abs(await sent(w, 2, 1.0) - (LINGER_S + 0.010 + waits_s)) < 0.001
        assert w.broker.batches[1] == ["b", "c"]
        await asyncio.wait(requests)


@in_virtual_time
async def test_a_record_goes_where_every_java_producer_puts_it() -> None:
    topic = SYNCS._replace(partitions=6)
    async with world(topic, SIGNUPS) as w:
        keys = [f"u{n}".encode() for n in range(50)]
        await asyncio.wait([w.send("e", key=key) for key in keys])
        found = {stored.key: partition for partition, stored in w.broker.log("syncs.v1")}
        assert found == {key: key_hash(key) % 6 for key in keys}
        assert {*found.values()} == {*range(6)}


@in_virtual_time
async def test_sign_ups_have_a_topic_of_their_own() -> None:
    async with world() as w:
        assert await w.send("s", kind="signups") == [D]
        assert (w.stored("signups.v1"), w.stored()) == (1, 0)
        assert w.counted("events_total", "signups", "durable") == 1


@in_virtual_time
async def test_what_became_of_each_record_is_counted() -> None:
    async with world() as w:
        assert await w.send("a", "b", "c") == [D, D, D]
        assert w.counted("events_total", "syncs", "durable") == 3
        assert w.counted("kafka_batches_total", "acked") == 1
        assert sum(w.slot.histogram("sluicegate_ack_seconds", "syncs").counts) >= 1
        assert w.light == "ok"


@in_virtual_time
async def test_a_batch_is_never_larger_than_either_bound() -> None:
    async with world(SYNCS._replace(batch_bytes_max=2_000), SIGNUPS, batch_bytes_max=5_000) as w:
        requests = [w.send(str(n), size=600) for n in range(7)]
        await asyncio.wait(requests)
        assert [len(batch) for batch in w.broker.batches] == [3, 3, 1]
    async with world(batch_bytes_max=2_000) as w:
        await asyncio.wait([w.send(str(n), size=600) for n in range(7)])
        assert [len(batch) for batch in w.broker.batches] == [3, 3, 1]


@in_virtual_time
async def test_a_record_no_batch_can_hold_is_refused_at_once() -> None:
    async with world() as w:
        assert await w.send("a", size=300_000) == [R]
        assert w.now_s == 0
        assert w.broker.batches == []
        assert w.deliverer.held_bytes == 0
        assert w.counted("events_total", "syncs", "refused") == 1


# When Kafka is slow


@in_virtual_time
async def test_time_is_up_unknown_where_it_was_sent_withdrawn_where_it_was_not() -> None:
    async with world(batch_bytes_max=1_024) as w:
        w.broker.pause()
        sent, waiting = w.send("a", size=800), w.send("b", size=800)
        await asyncio.wait([sent, waiting])
        assert (sent.result(), waiting.result()) == ([U], [W])
        assert TIMEOUT_S <= w.now_s <= TIMEOUT_S + 2 * TICK_S
        w.broker.resume()
        await w.until(10)
        assert w.broker.batches == [["a"]]  # what nobody waits for is not sent
        assert w.deliverer.held_bytes == 0
        assert (w.counted("events_total", "syncs", "unknown"), w.counted("events_total", "syncs", "withdrawn")) == (1, 1)


@in_virtual_time
async def test_after_stall_ms_without_an_ack_nobody_is_let_in() -> None:
    async with world() as w:
        w.broker.pause()
        w.send("a")
        await w.until(0.9)
        assert w.deliverer.is_open("syncs")
        # The other lane would still be sent at once, so the kind is open; this one is not.
        await w.until(1.2)
        assert await w.send("b") == [W]
        assert w.now_s == 1.2
        assert w.light == "slow"
        assert w.slot.gauge("sluicegate_unacked_age_seconds").value > 1


@in_virtual_time
async def test_a_kind_is_closed_when_all_its_lanes_are() -> None:
    async with world(SYNCS._replace(partitions=1), SIGNUPS) as w:
        w.broker.pause()
        w.send("a")
        await w.until(1.2)
        assert not w.deliverer.is_open("syncs")
        assert w.deliverer.is_open("signups")
        w.broker.resume()
        await w.until(1.3)
        assert w.deliverer.is_open("syncs")
        assert w.light == "ok"


@in_virtual_time
async def test_an_overdue_batch_ends_its_producer() -> None:
    """It may never answer; a new one does."""
    async with world() as w:
        w.broker.pause()
        request = w.send("a")
        await w.until(TIMEOUT_S + 3 * TICK_S)
        assert request.result() == [U]
        assert w.counted("kafka_rebuilds_total") == 1
        assert w.broker.sending == 0
        assert w.light == "connecting"
        assert not w.deliverer.is_open("syncs")
        w.broker.resume()
        await w.until(TIMEOUT_S + 1)
        assert w.broker.connects == 2
        assert await w.send("b") == [D]
        assert w.counted("kafka_batches_total", "lost") == 1


@in_virtual_time
async def test_an_ack_that_comes_too_late_is_counted_as_late() -> None:
    """Four seconds behind another batch, then four of its own."""
    async with world() as w:
        w.broker.latency_s = 4
        first = w.send("a")
        await w.until(0.5)
        second = w.send("b")
        assert (await first, await second) == ([D], [U])
        assert w.now_s < 5.7
        assert w.stored() == 1
        await w.until(9)
        assert w.stored() == 2
        assert w.counted("kafka_batches_total", "late") == 1
        assert w.counted("events_total", "syncs", "durable") == 1
        assert w.deliverer.held_bytes == 0


@in_virtual_time
async def test_memory_is_bounded_while_the_broker_hangs() -> None:
    """A hundred requests a second for a minute: what came before the stall is held, and in the end nothing."""
    async with world() as w:
        w.broker.pause()
        requests, held = [], []
        for n in range(6_000):
            await w.until(n * 0.01)
            if w.deliverer.is_open("syncs"):
                requests.append(w.send(f"e{n}", key=b"u%d" % n))
            held.append(w.deliverer.held_bytes)
        # A second and some of it; after each rebuild one request a lane to try.
        assert max(held) <= 130 * 100
        w.broker.resume()
        await w.until(70)
        assert all(request.done() for request in requests)
        assert w.deliverer.held_bytes == 0
        assert await w.send("now") == [D]


# When Kafka is away


@in_virtual_time
async def test_a_broken_connection_costs_nobody_anything_when_the_next_one_holds() -> None:
    """What the lost batch held goes first, in order, ahead of what came later."""
    async with world() as w:
        w.broker.latency_s = 0.5
        requests = [w.send("a"), w.send("b")]
        await w.until(0.1)
        requests.append(w.send("c"))
        w.broker.kill()
        w.broker.revive()
        await asyncio.wait(requests)
        assert [request.result() for request in requests] == [[D], [D], [D]]
        assert w.broker.batches == [["a", "b"], ["a", "b", "c"]]


@in_virtual_time
async def test_a_lost_ack_means_the_same_event_twice_and_never_not_at_all() -> None:
    async with world() as w:
        w.broker.lose_acks = 1
        assert await w.send("a", "b") == [D, D]
        assert w.broker.batches == [["a", "b"], ["a", "b"]]
        assert w.stored() == 4


@in_virtual_time
async def test_a_loss_closes_the_door_at_once() -> None:
    """Not with the next look around: until there is contact, bodies would be read for nothing."""
    async with world() as w:
        w.broker.latency_s = 1
        w.send("a")
        await w.until(0.11)
        assert w.deliverer.is_open("syncs")
        w.broker.kill()
        await w.until(0.111)
        assert not w.deliverer.is_open("syncs")
        assert w.light == "connecting"


@in_virtual_time
async def test_while_away_contact_is_tried_again_and_again_and_everyone_told_at_once() -> None:
    async with world() as w:
        w.broker.kill()
        assert await w.send("a") == [U]  # it was sent and lost, and waited out its time
        await w.until(6)
        assert w.deliverer.held_bytes == 0  # nobody waits for it: it is not kept for a Kafka that may stay away
        assert not w.deliverer.is_open("syncs")
        assert await w.send("b") == [W]
        w.broker.revive()
        await w.until(7)
        assert w.light == "ok"
        assert await w.send("c") == [D]


@in_virtual_time
async def test_kafka_away_at_start_is_no_error() -> None:
    made = World()
    made.broker.kill()
    await made.deliverer.start(is_strict=True)
    assert made.light == "connecting"
    assert not made.deliverer.is_open("syncs")
    made.broker.revive()
    await made.until(1.1)
    assert made.light == "ok"
    assert await made.send("a") == [D]
    await made.deliverer.stop()


@in_virtual_time
async def test_after_a_loss_one_request_at_a_time_until_one_is_durable() -> None:
    async with world(SYNCS._replace(partitions=1), SIGNUPS) as w:
        w.broker.pause()
        w.send("a")
        await w.until(TIMEOUT_S + 0.2)  # told unknown, the producer given up
        w.broker.resume()
        await w.until(TIMEOUT_S + 0.5)
        w.broker.pause()
        probe, another = w.send("b"), w.send("c")
        await asyncio.wait([another])
        assert another.result() == [W]
        await w.until(TIMEOUT_S + 0.6)
        assert not w.deliverer.is_open("syncs")
        w.broker.resume()
        assert await probe == [D]
        await w.until(TIMEOUT_S + 1)
        assert await w.send("d") == [D]


@in_virtual_time
async def test_contact_is_tried_with_growing_pauses() -> None:
    async with world() as w:
        w.broker.kill()
        instants: list[float] = []
        topics = w.broker.topics

        async def noted() -> Any:
            instants.append(round(w.now_s, 2))
            return await topics()

        w.broker.topics = noted  # type: ignore[method-assign]
        w.send("a")
        await w.until(4.5)
        gaps = [round(b - a, 2) for a, b in pairwise(instants)]
        assert gaps[:3] == [0.1, 0.2, 0.5]
        assert {*gaps[3:]} == {1.0}


# When Kafka refuses


@in_virtual_time
async def test_a_refused_record_is_found_and_takes_nobody_with_it() -> None:
    async with world() as w:
        w.broker.refuse = lambda r: value_of(r) == b"poison"
        poison = asyncio.get_running_loop().create_task(_outcomes(w.deliverer, "syncs", [record("good"), record("bad", value=b"poison"), record("fine")]))
        others = [w.send(str(n)) for n in range(20)]
        await asyncio.wait([poison, *others])
        assert poison.result() == [D, R, D]
        assert all(request.result() == [D] for request in others)
        assert w.stored() == 22
        assert w.now_s < 1
        assert w.counted("kafka_batches_total", "refused") >= 1
        assert w.counted("kafka_rebuilds_total") == 0
        assert w.counted("events_total", "syncs", "refused") == 1


@in_virtual_time
async def test_a_failing_partition_is_closed_and_harms_no_other() -> None:
    """A topic without leave to write: its requests are refused, ever less often tried; the other topic goes on."""
    async with world() as w:
        w.broker.fail = lambda topic, _: topic == "signups.v1"
        told = []
        for n in range(200):
            told.append(w.send(f"s{n}", kind="signups"))
            fine = w.send(f"{n}")
            await w.until((n + 1) / 10)
            assert fine.result() == [D]
        assert w.light == "partition-failing"
        assert w.counted("kafka_rebuilds_total") == 0
        assert len([batch for batch in w.broker.batches if batch[0].startswith("s")]) < 25
        w.broker.fail = lambda _topic, _partition: False
        await w.until(30)
        assert (await w.send("again", kind="signups")) == [D]
        await w.until(31)
        assert w.light == "ok"
        assert {tuple(request.result()) for request in told} <= {(W,), (U,), (D,)}


@in_virtual_time
async def test_a_producer_that_never_lives_long_is_not_rebuilt_at_once() -> None:
    async with world() as w:
        w.broker.lose_acks = 1_000_000  # every batch breaks the connection
        for n in range(100):
            w.send(str(n))
            await w.until((n + 1) / 10)
        assert w.counted("kafka_rebuilds_total") < 25


@in_virtual_time
async def test_order_is_kept_through_a_refusal() -> None:
    async with world() as w:
        w.broker.refuse = lambda r: r.event_id == "5"
        requests = [w.send(str(n)) for n in range(12)]
        await asyncio.wait(requests)
        acked = [name for name in (n for batch in w.broker.batches for n in batch) if name != "5"]
        assert list(dict.fromkeys(acked)) == [str(n) for n in range(12) if n != 5]
        assert [request.result() for request in requests] == [[R] if n == 5 else [D] for n in range(12)]


@in_virtual_time
async def test_what_is_acknowledged_is_counted_before_its_answer_and_nothing_else_is() -> None:
    """Neither what is refused, nor what is told unknown, whatever becomes of it later."""
    async with world() as w:
        counted_by_then: list[list[str]] = []
        first = w.send("a", "b")
        first.add_done_callback(lambda _: counted_by_then.append([*w.acknowledged]))
        await asyncio.wait([first])
        assert (counted_by_then, first.result()) == ([["a", "b"]], [D, D])
        w.broker.refuse = lambda one: one.event_id == "poison"
        mixed = w.send("c", "poison", "d")
        await asyncio.wait([mixed])
        assert (mixed.result(), w.acknowledged) == ([D, R, D], ["a", "b", "c", "d"])
        w.broker.pause()
        unknown = w.send("e")
        await asyncio.wait([unknown])
        assert unknown.result() == [U]
        w.broker.resume()
        await asyncio.sleep(5)
        assert w.acknowledged == ["a", "b", "c", "d"]


# What the topics promise


@pytest.mark.parametrize(("copies", "in_sync_min"), [(2, 2), (3, 1), (1, 1)])
@pytest.mark.parametrize("is_strict", [True, False])
def test_a_topic_that_survives_no_disk_is_not_acknowledged(copies: int, in_sync_min: int, is_strict: bool) -> None:
    @in_virtual_time
    async def script() -> None:
        made = World(SYNCS._replace(copies=copies, in_sync_min=in_sync_min), SIGNUPS)
        if is_strict:
            with pytest.raises(ConfigError, match=r"^syncs\.v1: fewer than 3 copies"):
                await made.deliverer.start(is_strict=True)
        else:
            await made.deliverer.start(is_strict=False)
            assert (made.light, made.deliverer.is_open("syncs"), made.deliverer.is_open("signups")) == ("single-copy", False, True)
            assert await made.send("a") == [W]
            assert await made.send("s", kind="signups") == [D]
        await made.deliverer.stop()

    script()


@in_virtual_time
async def test_single_copies_may_be_allowed_and_are_shown() -> None:
    async with world(SYNCS._replace(copies=1, in_sync_min=1), SIGNUPS, is_strict=True, allow_single_copy=True) as w:
        assert w.light == "single-copy-allowed"
        assert await w.send("a") == [D]


@in_virtual_time
async def test_a_missing_topic_closes_its_kind_until_it_is_made() -> None:
    async with world(SYNCS, is_strict=True) as w:
        assert (w.light, w.deliverer.is_open("signups"), w.deliverer.is_open("syncs")) == ("topic-missing", False, True)
        assert await w.send("s", kind="signups") == [W]
        w.broker.put_topic(SIGNUPS)
        await w.until(1.5)
        assert w.light == "ok"
        assert await w.send("s", kind="signups") == [D]


@in_virtual_time
async def test_changed_settings_are_noticed_within_30_seconds() -> None:
    async with world(SYNCS._replace(partitions=1), SIGNUPS) as w:
        w.broker.put_topic(SYNCS._replace(partitions=6, batch_bytes_max=1_000))
        await w.until(30.5)
        assert await w.send("a", size=950) == [R]
        await asyncio.wait([w.send("e", key=b"u%d" % n) for n in range(40)])
        assert {partition for partition, _ in w.broker.log("syncs.v1")} == {*range(6)}
        w.broker.put_topic(SYNCS._replace(partitions=6, copies=1))
        await w.until(61)
        assert w.light == "single-copy"
        assert await w.send("b") == [W]


@in_virtual_time
async def test_topics_that_cannot_be_read_now_stay_what_they_were() -> None:
    async with world() as w:
        w.broker._is_dead = True  # new contacts fail, the producer lives
        await w.until(31)
        assert w.light == "ok"
        assert await w.send("a") == [D]


# The end


@in_virtual_time
async def test_flush_returns_when_everything_has_its_outcome() -> None:
    async with world() as w:
        w.broker.latency_s = 2
        requests = [w.send("a"), w.send("b", key=b"u2")]
        await asyncio.sleep(0)
        await w.deliverer.flush()
        assert 2 <= w.now_s < 2.2
        assert all(request.done() for request in requests)


@in_virtual_time
async def test_flush_waits_no_longer_than_the_last_ones_time() -> None:
    async with world() as w:
        w.broker.pause()
        w.send("a")
        await asyncio.sleep(0)
        await w.deliverer.flush()
        assert TIMEOUT_S <= w.now_s < TIMEOUT_S + 0.2


@in_virtual_time
async def test_flush_of_nothing_is_now() -> None:
    async with world() as w:
        await w.deliverer.flush()
        assert w.now_s == 0


@pytest.mark.parametrize("method", ["send", "topics"])
def test_a_task_that_dies_of_a_bug_is_told(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker asks `failed` twice a second, and dies of it loudly."""

    async def bug(*_: object) -> None:
        raise ZeroDivisionError(method)

    @in_virtual_time
    async def script() -> None:
        made = World(SYNCS)  # a missing topic: topics are read every second
        await made.deliverer.start(is_strict=False)
        assert made.deliverer.failed() is None
        monkeypatch.setattr(made.broker, method, bug)
        made.send("a")
        await made.until(2)
        assert isinstance(made.deliverer.failed(), ZeroDivisionError)
        await made.deliverer.stop()

    script()


def test_a_request_that_is_cancelled_harms_nobody() -> None:
    """aiohttp cancels the handlers that are left when a server shuts down."""

    @in_virtual_time
    async def script() -> None:
        async with world() as w:
            w.broker.latency_s = 0.5
            first, gone, last = w.send("a"), w.send("b"), w.send("c")
            await w.until(0.1)
            gone.cancel()
            await asyncio.wait([first, last])
            assert (first.result(), last.result()) == ([D], [D])
            assert w.now_s < 0.6
            assert w.deliverer.held_bytes == 0
            await w.deliverer.flush()

    script()


# Any morning

switches = st.sampled_from(["pause", "resume", "kill", "revive", "lose", "refuse", "slow", "fast"])
calls = st.tuples(st.integers(0, 3), st.integers(1, 3), st.booleans())  # whose, how many records, is one of them poison
moments = st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.04, 0.3, 1.5, 6.0]), switches | calls), max_size=25)


@given(moments)
def test_whatever_the_broker_does_the_promises_hold(script: list[tuple[float, str | tuple[int, int, bool]]]) -> None:
    """Durable is stored, withdrawn and refused are not, everyone is told in time, order holds, nothing is kept."""

    @in_virtual_time
    async def play() -> None:
        async with world(SYNCS, SIGNUPS, batch_bytes_max=1_024) as w:
            w.broker.refuse = lambda r: value_of(r) == b"poison"
            requests: list[tuple[float, list[Record], asyncio.Task[tuple[Sequence[Outcome], float]]]] = []
            for pause_s, action in script:
                await asyncio.sleep(pause_s)
                if isinstance(action, str):
                    flip(w.broker, action)
                else:
                    requests.append(call(w, len(requests), *action))
            for switch in ("revive", "resume", "fast"):
                flip(w.broker, switch)
            await asyncio.sleep(TIMEOUT_S + 15)
            check(w, [(records, started_s, *task.result()) for started_s, records, task in requests])
            assert await w.send("a", key=b"u0") == [D]
            assert await w.send("b", key=b"u1") == [D]

    play()


def flip(broker: FakeBroker, switch: str) -> None:
    match switch:
        case "lose":
            broker.lose_acks += 1
        case "slow" | "fast":
            broker.latency_s = 2.0 if switch == "slow" else 0.0
        case "refuse":
            pass  # poison is always refused
        case _:
            getattr(broker, switch)()


def call(w: World, number: int, who: int, many: int, has_poison: bool) -> "tuple[float, list[Record], asyncio.Task[tuple[Sequence[Outcome], float]]]":
    records = [
        record(f"{number}.{n}", 300, key=b"u%d" % who, value=b"poison" if has_poison and n == many - 1 else f"{number}.{n}".encode()) for n in range(many)
    ]

    async def timed() -> tuple[Sequence[Outcome], float]:
        return (await w.deliverer.deliver("syncs", records, None)).outcomes, w.now_s

    return w.now_s, records, asyncio.get_running_loop().create_task(timed())


def check(w: World, requests: Sequence[tuple[Sequence[Record], float, Sequence[Outcome], float]]) -> None:
    values = [entry.value for _, entry in w.broker.log("syncs.v1")]
    durable: dict[bytes, list[bytes]] = {}
    for records, started_s, outcomes, ended_s in requests:
        assert len(outcomes) == len(records)
        assert ended_s - started_s <= TIMEOUT_S + 2 * TICK_S
        for one, outcome in zip(records, outcomes, strict=True):
            match outcome:
                case Outcome.DURABLE:
                    assert value_of(one) in values
                    durable.setdefault(one.key, []).append(value_of(one))
                case Outcome.REFUSED:
                    assert value_of(one) == b"poison"
                case Outcome.WITHDRAWN:
                    assert value_of(one) == b"poison" or value_of(one) not in values
                case Outcome.UNKNOWN:
                    pass
    for ordered in durable.values():  # the last copy of each stands in the order they came
        places = [len(values) - values[::-1].index(value) for value in ordered]
        assert places == sorted(places)
    assert b"poison" not in values
    assert w.deliverer.held_bytes == 0
    assert all(running <= 1 for running in w.broker.sending_max.values())


def test_the_defaults_are_those_these_scripts_speak_of() -> None:
    defaults = msgspec.structs.asdict(Deliver())
    assert (defaults["timeout_ms"], defaults["stall_ms"], defaults["linger_ms"]) == (5_000, 1_000, 2.0)


class _Deaf(FakeBroker):
    """Its second contact swallows a cancellation, as the Kafka client's close() does."""

    async def connect(self) -> Mapping[str, Topic]:
        self.connects += 1
        if self.connects == 2:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        raise BrokerAway("nobody there")


@in_virtual_time
async def test_it_stops_though_the_client_swallows_a_cancellation() -> None:
    loop, broker = asyncio.get_running_loop(), _Deaf(SYNCS, SIGNUPS)
    assert isinstance(loop, VirtualLoop)
    deliverer = Deliverer(Deliver(), broker, loop.clock, new_slot())
    await deliverer.start(is_strict=False)
    while broker.connects < 2:
        await asyncio.sleep(TICK_S)
    async with asyncio.timeout(1):
        await deliverer.stop()
    assert broker.is_closed
