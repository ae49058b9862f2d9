"""One exam for the fake broker and the real Kafka behind gateway/kafka.py.

What delivery relies on is examined here, on both; so a test that uses the fake says
something about the real one.  What only the real one can do wrong stands at the end.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import count
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from devstack import Devstack
from devstack import Topic as NewTopic
from gateway.core.event import Record
from gateway.errors import BatchRefused, BrokerAway, PartitionFailed
from gateway.kafka import Broker, Kafka, Topic, key_hash
from tests.fakes import FakeBroker
from tests.records import Stored, made, stored
from tests.system.gateway import records as read_all

PROMPT_S: Final = 5.0
"""What has to happen at once takes no longer, on a machine that runs other tests as well; the client's own patience is 10 s."""

_names: Final = count(1)


def record(n: int = 1, *, value: bytes | None = None) -> Record:
    headers = [("ce_id", b"%d" % n), ("content-type", b"application/json"), ("worker", "일꾼".encode())]
    return made(f"e{n}", b"u1", b'{"n":%d}' % n if value is None else value, headers, 1_769_519_405_000 + n)


class Examinee(NamedTuple):
    """A broker and the two things a test does behind its back."""

    broker: Broker
    topic: str
    make: Callable[[Topic], Awaitable[None]]
    log: Callable[[], Awaitable[list[tuple[int, Stored]]]]


def _fake() -> Examinee:
    broker = FakeBroker()
    name = f"exam{next(_names)}"

    async def make(topic: Topic) -> None:
        broker.put_topic(topic)

    async def log() -> list[tuple[int, Stored]]:
        return broker.log(name)

    return Examinee(broker, name, make, log)


def kafka(bootstrap: str, *names: str, connect_timeout_s: float = 5.0) -> Kafka:
    return Kafka(bootstrap, names, connect_timeout_s=connect_timeout_s, request_timeout_s=10, batch_bytes_max=262_144)


def _real(stack: Devstack) -> Examinee:
    name = f"exam{next(_names)}"

    async def make(topic: Topic) -> None:
        config = {"min.insync.replicas": str(topic.in_sync_min), "max.message.bytes": str(topic.batch_bytes_max)}
        await stack.create_topic(NewTopic(topic.name, partitions=topic.partitions, config=config))

    async def log() -> list[tuple[int, Stored]]:
        found = await read_all(stack.kafka.bootstrap, name)
        return [(one.partition, Stored(one.key, one.value, tuple(one.headers), one.timestamp)) for one in found]

    return Examinee(kafka(stack.kafka.bootstrap, name), name, make, log)


@pytest_asyncio.fixture(loop_scope="session")
async def closing() -> AsyncIterator[list[Callable[[], Awaitable[None]]]]:
    """What to call when the test is over, however it ends."""
    calls: list[Callable[[], Awaitable[None]]] = []
    yield calls
    for call in calls:
        await call()
    gc.collect()  # what asyncio has to say of forgotten errors, it says here and not inside the next test's report


# Not async: only so can a fixture ask for the real stack only where it is needed.
@pytest.fixture(params=["fake", "real"])
def examinee(request: pytest.FixtureRequest, closing: list[Callable[[], Awaitable[None]]]) -> Examinee:
    made = _fake() if request.param == "fake" else _real(request.getfixturevalue("stack"))
    closing.append(made.broker.close)
    return made


def topic(name: str, **fields: Any) -> Topic:
    return Topic(name, **({"partitions": 3, "copies": 1, "in_sync_min": 1, "batch_bytes_max": 1_048_588} | fields))


async def test_contact_reads_what_a_topic_promises(examinee: Examinee) -> None:
    made = topic(examinee.topic, partitions=5, in_sync_min=2, batch_bytes_max=20_000)
    await examinee.make(made)
    assert await examinee.broker.connect() == {examinee.topic: made}
    assert await examinee.broker.topics() == {examinee.topic: made}


async def test_a_missing_topic_is_not_there_and_not_made(examinee: Examinee) -> None:
    assert await examinee.broker.connect() == {}
    assert await examinee.broker.topics() == {}
    made = topic(examinee.topic)
    await examinee.make(made)
    assert await examinee.broker.topics() == {examinee.topic: made}


async def test_a_send_returns_when_its_records_are_in_the_log(examinee: Examinee) -> None:
    """Every byte of them: key, value, headers in their order, and our timestamp."""
    await examinee.make(topic(examinee.topic))
    await examinee.broker.connect()
    sent = [record(n) for n in range(3)]
    await examinee.broker.send(examinee.topic, 2, sent)
    assert await examinee.log() == [(2, stored(one)) for one in sent]


async def test_batches_of_a_partition_stand_in_the_order_sent(examinee: Examinee) -> None:
    await examinee.make(topic(examinee.topic))
    await examinee.broker.connect()
    for n in range(0, 30, 3):
        await examinee.broker.send(examinee.topic, 0, [record(n), record(n + 1), record(n + 2)])
    assert [one.value for _, one in await examinee.log()] == [b'{"n":%d}' % n for n in range(30)]


async def test_a_send_says_where_its_records_are(examinee: Examinee) -> None:
    """The offset of the first, partition by partition."""
    await examinee.make(topic(examinee.topic))
    await examinee.broker.connect()
    told = [
        await examinee.broker.send(examinee.topic, partition, [record(n) for n in range(size)]) for partition, size in ((0, 2), (1, 3), (0, 1), (1, 1), (0, 1))
    ]
    assert told == [0, 0, 2, 3, 3]


async def test_partitions_do_not_wait_for_each_other(examinee: Examinee) -> None:
    await examinee.make(topic(examinee.topic))
    await examinee.broker.connect()
    await asyncio.gather(*(examinee.broker.send(examinee.topic, partition, [record(partition)]) for partition in range(3)))
    assert sorted((partition, one.value) for partition, one in await examinee.log()) == [(n, b'{"n":%d}' % n) for n in range(3)]


async def test_a_batch_larger_than_the_topic_allows_is_refused_and_nothing_of_it_kept(examinee: Examinee) -> None:
    """It is the batch that is measured, not the record."""
    await examinee.make(topic(examinee.topic, batch_bytes_max=2_000))
    await examinee.broker.connect()
    small = [record(n, value=b"x" * 600) for n in range(4)]
    with pytest.raises(BatchRefused):
        await examinee.broker.send(examinee.topic, 0, small)
    # Its sequence is spoilt with that producer, but neither the partition nor its neighbours are.
    await asyncio.gather(*(examinee.broker.send(examinee.topic, partition, small[:2]) for partition in (0, 1, 0)))
    with pytest.raises(BatchRefused):
        await examinee.broker.send(examinee.topic, 0, small)
    await examinee.broker.send(examinee.topic, 0, small[:2])
    await examinee.broker.connect()
    await examinee.broker.send(examinee.topic, 0, small[:2])
    assert len(await examinee.log()) == 10


async def test_without_contact_nothing_can_be_sent(examinee: Examinee) -> None:
    await examinee.make(topic(examinee.topic))
    with pytest.raises(BrokerAway):
        await examinee.broker.send(examinee.topic, 0, [record()])
    await examinee.broker.connect()
    examinee.broker.discard()
    with pytest.raises(BrokerAway):
        await examinee.broker.send(examinee.topic, 0, [record()])
    assert await examinee.log() == []


async def test_a_partition_that_does_not_exist_fails_alone(examinee: Examinee) -> None:
    await examinee.make(topic(examinee.topic))
    await examinee.broker.connect()
    for _ in range(2):
        with pytest.raises(PartitionFailed):
            await examinee.broker.send(examinee.topic, 99, [record()])
    await examinee.broker.send(examinee.topic, 0, [record()])


async def test_contact_can_be_made_anew_again_and_again(examinee: Examinee) -> None:
    await examinee.make(topic(examinee.topic))
    for n in range(3):
        await examinee.broker.connect()
        await examinee.broker.send(examinee.topic, 0, [record(n)])
        examinee.broker.discard()
        examinee.broker.discard()  # once more harms nobody
    assert len(await examinee.log()) == 3


async def test_closing_twice_and_before_any_contact(examinee: Examinee) -> None:
    await examinee.broker.close()
    await examinee.broker.close()


# A broker that answers nothing: frozen, then gone


class Frozen(NamedTuple):
    """A broker that can be frozen, and one topic it has."""

    broker: Broker
    topic: str
    pause: Callable[[], Awaitable[None]]
    resume: Callable[[], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """A Kafka nobody else uses, to freeze."""
    async with Devstack(tmp_path_factory.mktemp("frozen"), redis=False, topics=(NewTopic("frozen", partitions=3),), fast_stop=True) as running:
        yield running


@pytest.fixture(params=["fake", "real"])
def frozen(request: pytest.FixtureRequest, closing: list[Callable[[], Awaitable[None]]]) -> Frozen:
    if request.param == "fake":
        fake = FakeBroker(topic("frozen"))
        closing.append(fake.close)

        async def pause() -> None:
            fake.pause()

        async def resume() -> None:
            fake.resume()

        return Frozen(fake, "frozen", pause, resume)
    stack: Devstack = request.getfixturevalue("own_stack")
    real = kafka(stack.kafka.bootstrap, "frozen", connect_timeout_s=2.0)
    closing.extend((stack.kafka.resume, real.close))
    return Frozen(real, "frozen", stack.kafka.pause, stack.kafka.resume)


async def test_every_send_outstanding_at_a_discard_is_told_at_once(frozen: Frozen) -> None:
    """Nothing waits for a broker that is silent; and what is silent may have stored it."""
    await frozen.broker.connect()
    await frozen.broker.send(frozen.topic, 0, [record()])
    await frozen.pause()
    sends = [asyncio.ensure_future(frozen.broker.send(frozen.topic, partition, [record(partition)])) for partition in range(3)]
    done, _ = await asyncio.wait(sends, timeout=0.3)
    assert not done
    frozen.broker.discard()
    async with asyncio.timeout(PROMPT_S):
        answers = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(answer) for answer in answers] == [BrokerAway] * 3
    await frozen.resume()
    await frozen.broker.connect()
    await frozen.broker.send(frozen.topic, 0, [record()])


async def test_a_send_begun_while_frozen_ends_with_the_discard_too(frozen: Frozen) -> None:
    await frozen.broker.connect()
    await frozen.broker.send(frozen.topic, 0, [record()])
    await frozen.pause()
    first = asyncio.ensure_future(frozen.broker.send(frozen.topic, 0, [record(1)]))
    await asyncio.wait([first], timeout=0.2)
    second = asyncio.ensure_future(frozen.broker.send(frozen.topic, 0, [record(2)]))
    await asyncio.wait([second], timeout=0.2)
    frozen.broker.discard()
    async with asyncio.timeout(PROMPT_S):
        answers = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(answer) for answer in answers] == [BrokerAway] * 2
    await frozen.resume()


async def test_what_waited_goes_on_when_the_broker_does(frozen: Frozen) -> None:
    await frozen.broker.connect()
    await frozen.pause()
    send = asyncio.ensure_future(frozen.broker.send(frozen.topic, 1, [record()]))
    done, _ = await asyncio.wait([send], timeout=0.2)
    assert not done
    await frozen.resume()
    async with asyncio.timeout(20):
        await send


async def test_the_first_send_of_a_producer_ends_with_its_discard_too(own_stack: Devstack, closing: list[Callable[[], Awaitable[None]]]) -> None:
    real = kafka(own_stack.kafka.bootstrap, "frozen", connect_timeout_s=2.0)
    closing.extend((own_stack.kafka.resume, real.close))
    await real.connect()
    await own_stack.kafka.pause()
    send = asyncio.ensure_future(real.send("frozen", 0, [record()]))
    await asyncio.wait([send], timeout=0.2)
    real.discard()
    done, _ = await asyncio.wait([send], timeout=PROMPT_S)
    send.cancel()
    assert [type(one.exception()) for one in done] == [BrokerAway]


async def cancelled(sends: Iterable["asyncio.Future[int]"]) -> None:
    for send in sends:
        send.cancel()
    await asyncio.wait(sends)


@pytest.mark.parametrize("who_waits", ["cancelled", "told"])
async def test_a_discard_leaves_no_error_forgotten(own_stack: Devstack, closing: list[Callable[[], Awaitable[None]]], who_waits: str) -> None:
    real = kafka(own_stack.kafka.bootstrap, "frozen")
    closing.extend((own_stack.kafka.resume, real.close))
    await real.connect()
    await real.send("frozen", 0, [record()])
    await own_stack.kafka.pause()
    sends = []
    for partition in range(3):  # the second and third queue behind the first one's request
        sends.append(asyncio.ensure_future(real.send("frozen", partition, [record(partition)])))
        await asyncio.wait(sends, timeout=0.1)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    try:
        if who_waits == "cancelled":
            await cancelled(sends)
        real.discard()
        await asyncio.gather(*sends, return_exceptions=True)
        await real.close()
        sends.clear()
        gc.collect()
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert complaints == []


async def test_a_frozen_kafka_is_away_within_its_time(own_stack: Devstack) -> None:
    """Contact and close are bounded, and leave no task behind."""
    real = kafka(own_stack.kafka.bootstrap, "frozen", connect_timeout_s=1.0)
    await real.connect()
    before = asyncio.all_tasks()
    await own_stack.kafka.pause()
    try:
        async with asyncio.timeout(1.0 + PROMPT_S):
            with pytest.raises(BrokerAway):
                await real.connect()
        async with asyncio.timeout(PROMPT_S):
            await real.close()
    finally:
        await own_stack.kafka.resume()
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.05)


async def test_nobody_at_all_is_away() -> None:
    async with asyncio.timeout(10):
        with pytest.raises(BrokerAway):
            await kafka("127.0.0.1:1", "t", connect_timeout_s=2.0).connect()


async def test_a_killed_kafka_ends_a_send_once_it_is_given_up_and_serves_again(own_stack: Devstack, closing: list[Callable[[], Awaitable[None]]]) -> None:
    real = kafka(own_stack.kafka.bootstrap, "frozen", connect_timeout_s=2.0)
    closing.append(real.close)
    await real.connect()
    await real.send("frozen", 0, [record()])
    await own_stack.kafka.kill()
    send = asyncio.ensure_future(real.send("frozen", 0, [record()]))
    await asyncio.wait([send], timeout=0.5)
    real.discard()
    async with asyncio.timeout(PROMPT_S):
        with pytest.raises(BrokerAway):
            await send
    async with asyncio.timeout(10):
        with pytest.raises(BrokerAway):
            await real.connect()
    await own_stack.kafka.restart()
    await real.connect()
    await real.send("frozen", 0, [record()])


# The partitioner

# From Kafka's own UtilsTest.testMurmur2.
JAVA_MURMUR2: Final = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "java"), JAVA_MURMUR2.items())
def test_a_key_is_hashed_as_by_every_java_producer(key: bytes, java: int) -> None:
    """Utils.toPositive(murmur2(key)); the partition is that modulo their number."""
    assert key_hash(key) == java & 0x7FFFFFFF


@given(st.binary(max_size=200))
def test_a_hash_is_never_negative(key: bytes) -> None:
    assert 0 <= key_hash(key) < 2**31
