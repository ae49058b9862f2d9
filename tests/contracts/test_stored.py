"""What a real Kafka holds of a time, as the audit reads it."""

import asyncio
from itertools import count
from typing import Final

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from devstack import Devstack
from devstack import Topic as NewTopic
from gateway.audit.stored import Log
from gateway.errors import BrokerAway

_names: Final = count(1)
NOW_MS: Final = 1_769_519_405_000


async def topic(stack: Devstack) -> str:
    name = f"stored{next(_names)}"
    await stack.create_topic(NewTopic(name, partitions=3))
    return name


async def produce(stack: Devstack, name: str, partition: int, *offsets_ms: int) -> None:
    """Records of these times, in this order."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap)
    await producer.start()
    try:
        for offset_ms in offsets_ms:
            await producer.send_and_wait(name, b"%d" % offset_ms, partition=partition, timestamp_ms=NOW_MS + offset_ms, headers=[("n", b"%d" % offset_ms)])
    finally:
        await producer.stop()


async def delete_before(stack: Devstack, name: str, partition: int, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(name, partition): RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def read(log: Log, name: str, from_ms: int) -> list[int]:
    """Times of what is read; each has its value and headers."""
    found = [one for batch in [batch async for batch in log.read(name, NOW_MS + from_ms)] for one in batch]
    for one in found:
        assert one.value == b"%d" % (one.timestamp_ms - NOW_MS)
        assert list(one.headers) == [("n", one.value)]
    return sorted(one.timestamp_ms - NOW_MS for one in found)


async def test_each_record_from_then_on_is_read_once(stack: Devstack) -> None:
    name = await topic(stack)
    await produce(stack, name, 0, *range(0, 1000, 10))
    await produce(stack, name, 1, 505, 700)
    log = Log(stack.kafka.bootstrap, 20.0)
    assert await read(log, name, 500) == sorted([*range(500, 1000, 10), 505, 700])
    assert await read(log, name, 0) == sorted([*range(0, 1000, 10), 505, 700])
    assert await read(log, name, 1000) == []
    assert log.cut == set()


async def test_from_before_the_epoch_on_is_all_there_is(stack: Devstack) -> None:
    name = await topic(stack)
    await produce(stack, name, 0, 0, 10)
    assert await read(Log(stack.kafka.bootstrap, 20.0), name, -NOW_MS - 300_000) == [0, 10]


async def test_a_replay_of_long_ago_is_read_although_newer_ones_stand_before_it(stack: Devstack) -> None:
    name = await topic(stack)
    await produce(stack, name, 0, 0, 10, 5_000_000, 9_000_000, 20, 30)
    assert {5_000_000, 9_000_000, 20, 30} <= set(await read(Log(stack.kafka.bootstrap, 20.0), name, 15))


async def test_an_empty_topic_holds_nothing(stack: Devstack) -> None:
    log = Log(stack.kafka.bootstrap, 20.0)
    assert await read(log, await topic(stack), 0) == []
    assert log.cut == set()


async def test_what_was_deleted_is_noticed(stack: Devstack) -> None:
    name, log = await topic(stack), Log(stack.kafka.bootstrap, 20.0)
    await produce(stack, name, 0, *range(10))
    await delete_before(stack, name, 0, 4)
    assert await read(log, name, 6) == [6, 7, 8, 9]
    assert log.cut == set()
    assert await read(log, name, 0) == [4, 5, 6, 7, 8, 9]
    assert log.cut == {name}


async def test_a_topic_that_does_not_exist_is_not_made(stack: Devstack) -> None:
    log = Log(stack.kafka.bootstrap, 20.0)
    for _ in range(2):
        with pytest.raises(BrokerAway, match="no topic stored-missing"):
            await read(log, "stored-missing", 0)


async def test_nobody_at_all_is_away() -> None:
    async with asyncio.timeout(20):
        with pytest.raises(BrokerAway):
            await read(Log("127.0.0.1:1", 2.0), "t", 0)
