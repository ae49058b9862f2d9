"""Kafka's ledger: every record of this rehearsal, read from the beginning to the end of both topics."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from loadtests.observed import RECORD
from loadtests.recording import of_payload

_POLL_MS: Final = 500
_SILENT_S: Final = 30.0  # a partition whose end is known and does not come


class KafkaError(Exception):
    """Kafka does not give up what it has: the harness broke."""


class _Named(msgspec.Struct):
    """All that is read of a value."""

    id: str = ""
    signup_id: str = ""


_named = msgspec.json.Decoder(_Named).decode


@asynccontextmanager
async def _consumer(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def ends(bootstrap: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Where each partition ends now."""
    async with _consumer(bootstrap) as consumer:
        return await _ends(consumer, topics)


async def _ends(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> dict[TopicPartition, int]:
    await consumer._client.force_metadata_update()  # noqa: SLF001 - partitions_for_topic alone answers from what it has not asked yet
    found = [TopicPartition(topic, partition) for topic in topics for partition in sorted(await _partitions(consumer, topic))]
    return dict(await consumer.end_offsets(found))


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    consumer._client.add_topic(topic)  # noqa: SLF001 - the public way is to subscribe, which joins no group here
    for _ in range(100):
        if found := consumer.partitions_for_topic(topic):
            return set(found)
        await asyncio.sleep(0.1)
    raise KafkaError(f"{topic}: no such topic")


async def records(bootstrap: str, topics: Sequence[str], since: Mapping[TopicPartition, int], run: int, began_s: float) -> np.ndarray:
    """Those of this run, as RECORD, partition by partition.

    Args:
        topics: syncs, sign-ups.
        since: `ends` as they were before.

    Raises:
        KafkaError: it falls silent before the end.
    """
    async with _consumer(bootstrap) as consumer:
        until = {where: end for where, end in (await _ends(consumer, topics)).items() if end > since.get(where, 0)}
        consumer.assign(list(until))
        for where in until:
            consumer.seek(where, since.get(where, 0))
        rows = list[tuple[Any, ...]]()
        while any([await consumer.position(where) < end for where, end in until.items()]):
            batches = await asyncio.wait_for(_some(consumer), _SILENT_S)
            for where, batch in batches.items():
                rows += [row for record in batch if (row := _row(topics.index(where.topic), record, run, began_s))]
    found = np.array(rows, RECORD)
    return found[np.lexsort((found["offset"], found["partition"], found["topic"]))]


async def _some(consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[ConsumerRecord]]:
    while not (batches := await consumer.getmany(timeout_ms=_POLL_MS, max_records=5_000)):
        pass
    return dict(batches)


def _row(topic: int, record: ConsumerRecord, run: int, began_s: float) -> tuple[Any, ...] | None:
    """None: another's."""
    try:
        named = _named(record.value or b"")  # others' records may be anything, or nothing
        of_run, arrival, sample = of_payload(uuid.UUID(named.signup_id or named.id))
    except (ValueError, msgspec.DecodeError):
        return None
    if of_run != run:
        return None
    event = dict(record.headers).get("ce_id", b"")
    return topic, record.partition, record.offset, arrival, sample, event, record.timestamp / 1000 - began_s
