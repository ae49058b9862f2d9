"""The third ledger: this rehearsal's records and nobody else's, and a consumer that falters.  Against the real broker."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from devstack import Devstack
from loadtests import kafka
from loadtests.downstream import taking
from loadtests.recording import payload_id
from loadtests.scenario import Downstream

RUN = 4711


@pytest_asyncio.fixture
async def producer(stack: Devstack) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap)
    await producer.start()
    yield producer
    await producer.stop()


@pytest_asyncio.fixture
async def topics(fresh_topics: Callable[..., Awaitable[dict[str, str]]]) -> tuple[str, str]:
    names = await fresh_topics()
    return names["syncs_topic"], names["signups_topic"]


async def put(producer: AIOKafkaProducer, topic: str, name: str, value: object, event: str) -> None:
    await producer.send_and_wait(topic, json.dumps({name: str(value)}).encode(), key=b"k", headers=[("ce_id", event.encode())], timestamp_ms=10_500)


async def test_all_of_this_run_and_nothing_else(stack: Devstack, producer: AIOKafkaProducer, topics: tuple[str, str]) -> None:
    syncs, signups = topics
    await put(producer, syncs, "id", payload_id(RUN, 1, 0), "too early")
    since = await kafka.ends(stack.kafka.bootstrap, topics)
    assert sum(since.values()) == 1
    for arrival in range(3):
        await put(producer, syncs, "id", payload_id(RUN, arrival, 7), f"e{arrival}")
    await put(producer, syncs, "id", payload_id(RUN, 2, 7), "e2")
    await put(producer, signups, "signup_id", payload_id(RUN, 9, 0), "s9")
    await put(producer, syncs, "id", payload_id(RUN + 1, 5, 0), "another run's")
    await put(producer, syncs, "id", uuid.uuid4(), "a stranger's")
    await put(producer, syncs, "id", "not a uuid", "anybody's")
    for anything in (None, b"", b"\xff", b"[1]"):
        await producer.send_and_wait(syncs, anything, key=b"k")
    found = await kafka.records(stack.kafka.bootstrap, topics, since, RUN, 10.0)
    assert [(row["topic"], row["arrival"], row["sample"], row["event"], row["at_s"]) for row in found] == [
        (0, 0, 7, b"e0", 0.5),
        (0, 1, 7, b"e1", 0.5),
        (0, 2, 7, b"e2", 0.5),
        (0, 2, 7, b"e2", 0.5),
        (1, 9, 0, b"s9", 0.5),
    ]


async def test_nothing_new_is_no_record(stack: Devstack, topics: tuple[str, str]) -> None:
    since = await kafka.ends(stack.kafka.bootstrap, topics)
    assert len(await kafka.records(stack.kafka.bootstrap, topics, since, RUN, 0.0)) == 0


@pytest.mark.parametrize("waiting", [20, 400])
async def test_downstream_is_slower_the_more_waits(stack: Devstack, producer: AIOKafkaProducer, topics: tuple[str, str], waiting: int) -> None:
    """At its knee it takes 200/s, with twenty times as many waiting a tenth of that: in any case all, in the end."""
    settings = Downstream(per_s=200.0, knee=20.0, contention=0.0)
    async with taking(settings, stack.kafka.bootstrap, topics[1], f"group-{topics[1]}") as falters:
        await asyncio.gather(*(producer.send(topics[1], b"{}", partition=number % 6) for number in range(waiting)))
        await producer.flush()
        async with asyncio.timeout(60):
            while falters.consumed < waiting:
                await asyncio.sleep(0.05)
                assert falters.consumed <= falters.could_take + 1
    assert falters.consumed == waiting
