"""Topics: what they are, and creating those that are missing.

A topic counts as created when every partition has a leader, for only then does the first
send to it not wait.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import DevstackError, missing_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiokafka.admin import AIOKafkaAdminClient

_ALREADY_EXISTS = 36  # TOPIC_ALREADY_EXISTS, kafka.apache.org/protocol#protocol_error_codes
_REQUEST_TIMEOUT_MS = 10_000
_LEADERS_S = 30.0
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Topic:
    """A topic to be there; `config` as in Kafka's topic settings, all values strings."""

    name: str
    partitions: int = 6
    config: Mapping[str, str] = field(default_factory=dict)


DEFAULT_TOPICS = (Topic("syncs.v1"), Topic("signups.v1"), Topic("audit.v1", partitions=1))


async def create_topics(bootstrap: str, topics: Sequence[Topic]) -> None:
    """Create the topics that are missing and wait for their leaders.

    Existing topics are left as they are, whatever their partitions and settings.

    Raises:
        DevstackError: the broker refused one, or leaders were not elected in time.
    """
    if not topics:
        return
    from aiokafka.admin import NewTopic

    async with admin_client(bootstrap) as admin:
        wanted = [
            NewTopic(
                name=topic.name,
                num_partitions=topic.partitions,
                replication_factor=1,
                topic_configs=dict(topic.config),
            )
            for topic in topics
        ]
        answer = await admin.create_topics(wanted)
        for name, code, *why in answer.topic_errors:
            if code not in (0, _ALREADY_EXISTS):
                raise DevstackError(f"Kafka refused the topic {name}: error {code} {why}")
        await _until_led(admin, [topic.name for topic in topics])


@asynccontextmanager
async def admin_client(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect an admin client for the length of a block.

    Raises:
        MissingPart: aiokafka is not installed.
    """
    try:
        from aiokafka.admin import AIOKafkaAdminClient
    except ImportError as error:
        raise missing_wheel("aiokafka") from error
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _until_led(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    try:
        async with asyncio.timeout(_LEADERS_S):
            # Asked again and again: the protocol has no call that waits for a leader.
            while not _are_led(await admin.describe_topics(names)):
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError as error:
        raise DevstackError(f"no leaders for {names} within {_LEADERS_S:.0f} s") from error


def _are_led(described: list[dict[str, object]]) -> bool:
    for topic in described:
        partitions = topic["partitions"]
        assert isinstance(partitions, list)
        if topic["error_code"] != 0 or not partitions:
            return False
        if any(partition["leader"] < 0 for partition in partitions):
            return False
    return True
