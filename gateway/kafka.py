"""The one door to the Kafka client: contact, batches, acknowledgements, teardown.

Decided here: how aiokafka's errors translate, and how a producer is torn down
at once.  Not decided here: what is sent when, and what follows from a failure
(deliver.py).  What aiokafka does by itself that we rely on: an idempotent
producer (acks=all) retries what may be retried, in order, for ever; so an error
that does surface is never worth a second try with the same producer: its
sequence number for that partition has advanced, and every later batch there
would fail.  The other partitions are none the worse.  So after such an error
the partition gets a producer of its own, until the next connect gives all of
them a shared one again: what one partition refuses harms no neighbour.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.partitioner import murmur2
from aiokafka.record.util import calc_crc32c

from gateway import logs
from gateway.core import recordbatch
from gateway.core.event import Record
from gateway.errors import BatchRefused, BrokerAway, BrokerError, PartitionFailed

# The broker looked at the batch and refuses what is in it: resending it whole cannot help.  A
# corrupt batch is not here (a bad link, not a bad record), nor what this client has no name for.
_REFUSES_CONTENT: Final = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.UnsupportedForMessageFormatError,
    kafka_errors.PolicyViolationError,
)
_TEARDOWN_S: Final = 2.0


class Topic(NamedTuple):
    """What first contact reads of a topic."""

    name: str
    partitions: int
    copies: int  # replicas of the partition that has fewest
    in_sync_min: int  # min.insync.replicas: how many copies an ack promises
    batch_bytes_max: int  # max.message.bytes: it is the batch that the broker measures

    @property
    def survives_one_disk(self) -> bool:
        """Three copies, two of them in sync: an acknowledged record outlives any one broker."""
        return self.copies >= 3 and self.in_sync_min >= 2


class Broker(Protocol):
    """What delivery needs of Kafka; the fake in tests/fakes.py sits the same exam."""

    async def connect(self) -> Mapping[str, Topic]:
        """A fresh producer, and the topics that exist.  Raises BrokerAway."""

    async def topics(self) -> Mapping[str, Topic]:
        """The topics that exist, read again.  Raises BrokerAway."""

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Return once every in-sync copy has them: the offset of the first, the others follow it without a gap.

        -1 where the broker does not say: it had the batch already.  Raises BatchRefused, PartitionFailed, BrokerAway.
        """

    def discard(self) -> None:
        """Drop the producer at once; every send still waiting raises BrokerAway."""

    async def close(self) -> None:
        """Discard and wait until its sockets are closed."""


def key_hash(key: bytes) -> int:
    """The hash every Java producer partitions by, so that streams can be joined downstream."""
    return int(murmur2(key)) & 0x7FFFFFFF


class _Batch:
    """What the client asks of a batch (its BatchBuilder), for records that are bytes already.

    It is asked in this order: closed, record_count, _set_producer_state, and _build at every try.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._producer = (-1, -1, 0)
        self._built = b""

    def closed(self) -> bool:
        return True

    def record_count(self) -> int:
        return len(self._records)

    def _set_producer_state(self, producer_id: int, epoch: int, first_sequence: int) -> None:
        self._producer = producer_id, epoch, first_sequence

    def _build(self) -> bytes:
        if not self._built:
            self._built = recordbatch.batch(self._records, *self._producer, calc_crc32c)
        return self._built


class Kafka:
    """The real broker behind `Broker`."""

    def __init__(self, bootstrap: str, names: Sequence[str], *, connect_timeout_s: float, request_timeout_s: float, batch_bytes_max: int) -> None:
        """Args: names: the topics to speak of; they are never created here."""
        self._bootstrap = bootstrap
        self._names = tuple(names)
        self._connect_timeout_s = connect_timeout_s
        self._request_timeout_ms = int(request_timeout_s * 1000)
        self._batch_bytes_max = batch_bytes_max
        self._producer: AIOKafkaProducer | None = None
        # Partitions that failed with the shared producer, and the ones of their own that some have since.
        self._failed: set[TopicPartition] = set()
        self._own: dict[TopicPartition, AIOKafkaProducer] = {}
        self._teardowns: set[asyncio.Task[None]] = set()

    async def connect(self) -> Mapping[str, Topic]:
        """A fresh idempotent producer, and the topics that exist."""
        topics = await self.topics()
        self.discard()
        self._producer = await self._start(topics)
        return topics

    async def _start(self, topics: Iterable[str]) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id="sluicegate",
            acks="all",
            enable_idempotence=True,
            # Batches come from us complete; what does not fit here is split by `deliver`.
            max_batch_size=self._batch_bytes_max,
            max_request_size=max(self._batch_bytes_max * 4, 1_048_576),
            request_timeout_ms=self._request_timeout_ms,
            metadata_max_age_ms=30_000,
        )
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await producer.start()
                for name in topics:  # else the first send asks, and no discard ends that wait
                    await producer.partitions_for(name)
        except asyncio.CancelledError:
            self._tear_down(producer)
            raise
        except Exception as exc:
            self._tear_down(producer)
            raise BrokerAway(type(exc).__name__) from exc
        return producer

    async def topics(self) -> Mapping[str, Topic]:
        """The topics that exist, by name."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id="sluicegate", request_timeout_ms=int(self._connect_timeout_s * 1000))
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await admin.start()
                # Asking for all of them: asking for one by name may create it.
                described = {t["topic"]: t["partitions"] for t in await admin.describe_topics() if t["topic"] in self._names and not t["error_code"]}
                if not described:
                    return {}
                answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in described])
        except Exception as exc:
            raise BrokerAway(type(exc).__name__) from exc
        finally:
            with contextlib.suppress(kafka_errors.KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(_TEARDOWN_S):
                    await admin.close()
        settings = {name: {entry[0]: entry[1] for entry in entries} for answer in answers for _, _, _, name, entries in answer.resources}
        return {
            name: Topic(
                name,
                partitions=len(partitions),
                copies=min((len(partition["replicas"]) for partition in partitions), default=0),
                # A principal that may not read settings is shown none: promise no more than one copy.
                in_sync_min=int(settings.get(name, {}).get("min.insync.replicas") or 1),
                batch_bytes_max=int(settings.get(name, {}).get("max.message.bytes") or 1_048_588),
            )
            for name, partitions in described.items()
            if partitions
        }

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Send one batch and wait for its acknowledgement, however long that takes."""
        at = TopicPartition(topic, partition)
        producer = await self._producer_for(at)
        try:
            if producer.client.cluster.partitions_for_topic(topic) is None:
                # A topic younger than the producer is asked for first; discarding the producer does not end that wait.
                async with asyncio.timeout(self._connect_timeout_s):
                    await producer.partitions_for(topic)
            acknowledged = await (await producer.send_batch(_Batch(records), topic, partition=partition))
        except (kafka_errors.KafkaError, OSError, TimeoutError, AssertionError) as exc:
            # AssertionError: the client asserts that the partition exists; topics can be made anew smaller.
            raise self._judge(exc, at, producer) from exc
        return int(acknowledged.offset)

    async def _producer_for(self, at: TopicPartition) -> AIOKafkaProducer:
        shared = self._producer
        if shared is None:
            raise BrokerAway("not connected")
        if at in self._own:
            return self._own[at]
        if at not in self._failed:
            return shared
        own = await self._start(())  # where even that is not possible, it is not this partition's fault
        if self._producer is not shared:
            self._tear_down(own)
            raise BrokerAway("discarded meanwhile")
        self._own[at] = own
        return own

    def _judge(self, exc: Exception, at: TopicPartition, producer: AIOKafkaProducer) -> BrokerError:
        """Whom a failed send concerns: everybody, this partition, or this batch."""
        why = type(exc).__name__
        is_shared = producer is self._producer
        if not is_shared and self._own.get(at) is not producer:
            return BrokerAway("discarded meanwhile")
        if is_shared and producer._sender.sender_task.done():  # noqa: SLF001 - nothing public tells
            return BrokerAway(why)
        if own := self._own.pop(at, None):
            self._tear_down(own)
        self._failed.add(at)
        return BatchRefused(why) if isinstance(exc, _REFUSES_CONTENT) else PartitionFailed(why)

    def discard(self) -> None:
        """Drop all producers without flush: flushing waits for a broker that may be away."""
        producers = [*self._own.values(), *([self._producer] if self._producer else [])]
        self._producer = None
        self._own.clear()
        self._failed.clear()
        for producer in producers:
            self._tear_down(producer)

    async def close(self) -> None:
        """Discard, and wait until the sockets are closed."""
        self.discard()
        if self._teardowns:
            await asyncio.wait(self._teardowns, timeout=_TEARDOWN_S)

    def _tear_down(self, producer: AIOKafkaProducer) -> None:
        # No public way leads past flush(), which hangs while a broker is away (aiokafka #1101).
        producer._closed = True  # noqa: SLF001
        accumulator = producer._message_accumulator  # noqa: SLF001
        accumulator.fail_all(kafka_errors.ProducerClosed())
        for batch in chain(*accumulator._batches.values(), accumulator._pending_batches):  # noqa: SLF001
            # Both looked at, so that asyncio does not report as forgotten what nobody waits for: who did may have been cancelled.
            batch.future.exception()
            batch._drain_waiter.exception()  # noqa: SLF001
        task = asyncio.get_running_loop().create_task(_close_sockets(producer))
        self._teardowns.add(task)
        task.add_done_callback(self._teardowns.discard)


async def _close_sockets(producer: AIOKafkaProducer) -> None:
    sender = producer._sender.sender_task  # noqa: SLF001
    try:
        async with asyncio.timeout(_TEARDOWN_S):
            while sender is not None and not sender.done():
                # Its first answer to a cancel is to wait for the requests in flight, which may never end.
                sender.cancel()
                await asyncio.wait([sender], timeout=0.05)
            await producer.client.close()
    except (TimeoutError, kafka_errors.KafkaError, OSError) as exc:
        logs.warning("a producer's sockets did not close in time", reason=type(exc).__name__)
    if sender is not None and sender.done() and not sender.cancelled():
        sender.exception()  # looked at, so that asyncio does not report it as forgotten
