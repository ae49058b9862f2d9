"""What a real Kafka says of a consumer group, as the pacer reads it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Final

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from devstack import Devstack
from devstack import Topic as NewTopic
from gateway.errors import BrokerAway
from gateway.lag import LagReader

_names: Final = count(1)
TIMEOUT_S: Final = 2.0
TEARDOWN_S: Final = 2.0
SLOW_S: Final = 5.0  # a machine that runs other tests as well


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """A Kafka nobody else uses, to freeze."""
    async with Devstack(tmp_path_factory.mktemp("lag"), redis=False, topics=(), fast_stop=True) as running:
        await running.create_topic(NewTopic("first"))
        # The first question for any coordinator makes the topic of commits: until then there is none.
        await until_read(LagReader(running.kafka.bootstrap, "first", "g", timeout_s=10.0))
        yield running


async def until_read(lag: LagReader) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(BrokerAway):
                await lag.read()
                break
            await asyncio.sleep(0.1)
    await lag.close()


@pytest_asyncio.fixture(loop_scope="session")
async def closing() -> AsyncIterator[list[Callable[[], Awaitable[None]]]]:
    calls: list[Callable[[], Awaitable[None]]] = []
    yield calls
    for call in calls:
        await call()


async def topic(stack: Devstack) -> str:
    name = f"lag{next(_names)}"
    await stack.create_topic(NewTopic(name, partitions=3))
    return name


async def produce(stack: Devstack, name: str, *counts: int) -> None:
    """So many records to partition 0, 1, 2."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap)
    await producer.start()
    try:
        for partition, records in enumerate(counts):
            for _ in range(records):
                await producer.send_and_wait(name, b"x", partition=partition)
    finally:
        await producer.stop()


async def commit(stack: Devstack, name: str, group: str, **offsets: int) -> None:
    """As a member of the group would: p0=3 commits offset 3 of partition 0."""
    consumer = AIOKafkaConsumer(name, bootstrap_servers=stack.kafka.bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        await consumer.commit({TopicPartition(name, int(part[1:])): offset for part, offset in offsets.items()})
    finally:
        await consumer.stop()


def reader(stack: Devstack, name: str, group: str, closing: list[Callable[[], Awaitable[None]]], *, timeout_s: float = 10.0) -> LagReader:
    made = LagReader(stack.kafka.bootstrap, name, group, timeout_s=timeout_s)
    closing.append(made.close)
    return made


async def test_ends_and_commits_are_summed(own_stack: Devstack, closing: list[Callable[[], Awaitable[None]]]) -> None:
    name = await topic(own_stack)
    lag = reader(own_stack, name, "g", closing)
    assert await lag.read() == (0, 0, 0)
    await produce(own_stack, name, 5, 3, 2)
    assert await lag.read() == (10, 0, 0)
    await commit(own_stack, name, "g", p0=4, p1=3)
    assert await lag.read() == (10, 7, 2)
    await commit(own_stack, name, "g", p0=5, p2=2)
    await produce(own_stack, name, 1)
    assert await lag.read() == (11, 10, 3)
    await commit(own_stack, name, "another", p0=1)
    assert await lag.read() == (11, 10, 3)


async def test_an_unknown_group_has_consumed_nothing_and_is_not_made(own_stack: Devstack, closing: list[Callable[[], Awaitable[None]]]) -> None:
    name = await topic(own_stack)
    await produce(own_stack, name, 2)
    assert await reader(own_stack, name, "nobody", closing).read() == (2, 0, 0)
    # Once more: what is read is no membership.
    assert await reader(own_stack, name, "nobody", closing).read() == (2, 0, 0)


async def test_a_topic_that_does_not_exist_is_not_made(own_stack: Devstack, closing: list[Callable[[], Awaitable[None]]]) -> None:
    lag = reader(own_stack, "lag-missing", "g", closing)
    for _ in range(2):
        with pytest.raises(BrokerAway, match="no topic lag-missing"):
            await lag.read()
    await own_stack.create_topic(NewTopic("lag-missing", partitions=2))
    assert await lag.read() == (0, 0, 0)


async def test_nobody_at_all_is_away() -> None:
    lag = LagReader("127.0.0.1:1", "t", "g", timeout_s=TIMEOUT_S)
    async with asyncio.timeout(TIMEOUT_S + SLOW_S):
        with pytest.raises(BrokerAway):
            await lag.read()
    await lag.close()


async def test_a_frozen_kafka_is_away_in_time_and_read_again_when_it_goes_on(own_stack: Devstack, closing: list[Callable[[], Awaitable[None]]]) -> None:
    """Within its time and that of two teardowns, and no task is left behind."""
    name = await topic(own_stack)
    await produce(own_stack, name, 1)
    before = asyncio.all_tasks()
    lag = reader(own_stack, name, "g", closing, timeout_s=TIMEOUT_S)
    assert await lag.read() == (1, 0, 0)
    await own_stack.kafka.pause()
    try:
        for _ in range(2):  # with connections of before, and with new ones
            async with asyncio.timeout(TIMEOUT_S + 2 * TEARDOWN_S + SLOW_S):
                with pytest.raises(BrokerAway):
                    await lag.read()
    finally:
        await own_stack.kafka.resume()
    await until_read(lag)
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.05)
