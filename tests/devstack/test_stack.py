"""The real servers do what a test may ask of them: answer, freeze, die, come back."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    TopicPartition,
)
from aiokafka.errors import MessageSizeTooLargeError
from redis.asyncio import Redis

from devstack import Devstack, InUse, NotOurs, StartFailed, Topic
from devstack.ports import HOST, REDIS_PORT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_S = 60.0
# How long a server that answers in a millisecond has to stay silent to count as frozen.
SILENCE_S = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """One Kafka and one Redis for the whole file; every test leaves them running."""
    async with Devstack(tmp_path_factory.mktemp("stack"), fast_stop=True) as started:
        yield started


async def _produce(stack: Devstack, topic: str, value: bytes) -> tuple[int, int]:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap, acks="all") as producer:
        written = await producer.send_and_wait(topic, value)
    return written.partition, written.offset


async def _read(stack: Devstack, topic: str, partition: int, offset: int) -> bytes:
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka.bootstrap) as consumer:
        consumer.assign([TopicPartition(topic, partition)])
        consumer.seek(TopicPartition(topic, partition), offset)
        async with asyncio.timeout(PATIENCE_S):
            value: bytes = (await consumer.getone()).value
    return value


async def test_both_answer_as_soon_as_they_are_up(stack: Devstack) -> None:
    """A record goes in and comes out; PING is answered."""
    partition, offset = await _produce(stack, "syncs.v1", b"a step")
    assert await _read(stack, "syncs.v1", partition, offset) == b"a step"
    async with Redis.from_url(stack.redis.url) as redis:
        assert await redis.ping()


async def test_default_topics_have_six_partitions(stack: Devstack) -> None:
    """What the gateway expects to find."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap) as producer:
        for topic in ("syncs.v1", "signups.v1"):
            assert len(await producer.partitions_for(topic)) == 6


async def test_a_topic_has_the_settings_it_was_made_with(stack: Devstack) -> None:
    """And making it twice is making it once."""
    small = Topic("small", partitions=1, config={"max.message.bytes": "2000"})
    await stack.create_topic(small)
    await stack.create_topic(small)
    await _produce(stack, "small", b"x" * 1000)
    with pytest.raises(MessageSizeTooLargeError):
        await _produce(stack, "small", b"x" * 3000)


async def test_a_paused_kafka_is_silent_and_a_resumed_one_answers(stack: Devstack) -> None:
    """Connections stay open; what was asked meanwhile is answered afterwards."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap) as producer:
        await producer.send_and_wait("syncs.v1", b"before")
        await stack.kafka.pause()
        try:
            sending = asyncio.create_task(producer.send_and_wait("syncs.v1", b"meanwhile"))
            done, _ = await asyncio.wait({sending}, timeout=SILENCE_S)
        finally:
            await stack.kafka.resume()
        assert not done
        await asyncio.wait_for(sending, PATIENCE_S)


async def test_a_paused_redis_is_silent_and_a_resumed_one_answers(stack: Devstack) -> None:
    """The same promise."""
    async with Redis.from_url(stack.redis.url, socket_timeout=PATIENCE_S) as redis:
        await redis.ping()
        await stack.redis.pause()
        try:
            asking = asyncio.ensure_future(redis.ping())
            done, _ = await asyncio.wait({asking}, timeout=SILENCE_S)
        finally:
            await stack.redis.resume()
        assert not done
        assert await asyncio.wait_for(asking, PATIENCE_S)


async def test_a_killed_kafka_comes_back_with_its_data(stack: Devstack) -> None:
    """On the same port, as another process."""
    partition, offset = await _produce(stack, "signups.v1", b"kept")
    old_pid, old_bootstrap = stack.kafka.pid, stack.kafka.bootstrap
    await stack.kafka.kill()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, int(old_bootstrap.rpartition(":")[2]))
    await stack.kafka.restart()
    assert stack.kafka.pid != old_pid
    assert stack.kafka.bootstrap == old_bootstrap
    assert await _read(stack, "signups.v1", partition, offset) == b"kept"


async def test_a_killed_redis_comes_back_empty(stack: Devstack) -> None:
    """It keeps nothing on disk: the case that "Redis back, older or empty" is about."""
    async with Redis.from_url(stack.redis.url) as redis:
        await redis.set("key", "value")
    await stack.redis.pause()  # a paused one can be killed too
    await stack.redis.restart()
    async with Redis.from_url(stack.redis.url) as redis:
        assert await redis.get("key") is None


async def test_existing_servers_are_used_and_left_alone(stack: Devstack, tmp_path: Path) -> None:
    """They get the topics; they cannot be paused, killed or asked for their pid."""
    topic = Topic("made-by-a-guest", partitions=2)
    async with Devstack(
        tmp_path,
        topics=[topic],
        redis_url=stack.redis.url,
        kafka_bootstrap=stack.kafka.bootstrap,
    ) as guest:
        assert guest.redis.url == stack.redis.url
        assert guest.kafka.bootstrap == stack.kafka.bootstrap
        for server in (guest.kafka, guest.redis):
            for act in (server.pause, server.resume, server.kill, server.restart):
                with pytest.raises(NotOurs, match="not ours"):
                    await act()
            with pytest.raises(NotOurs):
                _ = server.pid
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap) as producer:
        assert len(await producer.partitions_for("made-by-a-guest")) == 2


async def test_a_directory_has_one_stack(stack: Devstack) -> None:
    """The message says whose it is."""
    with pytest.raises(InUse, match="runs a devstack in"):
        async with Devstack(stack.data_dir, kafka=False):
            pass


async def test_a_busy_usual_port_is_avoided(tmp_path: Path) -> None:
    """Somebody has 6379, be it this test or a neighbour: ours gets another."""
    try:
        stranger = socket.create_server((HOST, REDIS_PORT))
    except OSError:
        stranger = socket.socket()
    with stranger:
        async with Devstack(tmp_path, kafka=False, fast_stop=True) as other:
            assert other.redis.url != f"redis://{HOST}:{REDIS_PORT}/0"
            async with Redis.from_url(other.redis.url) as redis:
                assert await redis.ping()


async def test_a_server_that_dies_at_start_shows_its_log(tmp_path: Path) -> None:
    """The reason is in the message, and its port is free again."""
    broken = tmp_path / "broken-server"
    broken.write_text("#!/bin/sh\necho out of luck today\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(StartFailed, match=r"(?s)code 3 while starting.*out of luck today"):
        async with Devstack(tmp_path, kafka=False, redis_binary=broken):
            pass


async def test_an_existing_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """At start, not at the first request."""
    with pytest.raises(StartFailed, match=r"existing redis at redis://127.0.0.1:1/0"):
        async with Devstack(tmp_path, kafka=False, redis_url=f"redis://{HOST}:1/0"):
            pass
