"""What Kafka holds of a time, for the audit: every record from an instant on, once, up to the ends of now.

Decided here: where reading begins and ends.  Not decided here: what the records say (command.py).  It joins no
group, commits nothing and makes no topic; whatever fails is a BrokerAway.

A record's time is that of its receipt, also where the spool sent it hours later.  So reading begins at the first
record that is as young as asked for, with which none of those before it is, and goes on to the end: what was received
long ago may be the newest in the log.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient

from gateway.errors import BrokerAway

_SILENT_S: Final = 30.0  # a broker that gives nothing for so long is away
_FETCH_BYTES: Final = 8_388_608


class Stored(NamedTuple):
    """One record, as far as the audit looks at it."""

    timestamp_ms: int
    value: bytes
    headers: Sequence[tuple[str, bytes | None]]


class Log:
    """The topics of one cluster."""

    def __init__(self, bootstrap: str, timeout_s: float) -> None:
        """Args: timeout_s: for a question; reading takes as long as it takes."""
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s
        self.cut: set[str] = set()  # topics that began later than what was asked for: older records are gone

    async def read(self, topic: str, from_ms: int) -> AsyncIterator[list[Stored]]:
        """Each record that is not older, and a few that are.  Raises BrokerAway."""
        try:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                client_id="sluicegate-audit",
                request_timeout_ms=int(self._timeout_s * 1000),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",  # retention may remove records while they are read
                max_partition_fetch_bytes=_FETCH_BYTES,
            )
            try:
                partitions = await self._partitions(topic)
                async with asyncio.timeout(self._timeout_s):
                    await consumer.start()
                async for batch in self._from(consumer, partitions, topic, from_ms):
                    yield batch
            finally:
                with contextlib.suppress(kafka_errors.KafkaError, OSError, TimeoutError):
                    async with asyncio.timeout(self._timeout_s):
                        await consumer.stop()
        except (kafka_errors.KafkaError, OSError, TimeoutError) as exc:
            raise BrokerAway(f"{topic}: {type(exc).__name__}") from exc

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id="sluicegate-audit", request_timeout_ms=int(self._timeout_s * 1000))
        try:
            async with asyncio.timeout(self._timeout_s):
                await admin.start()
                # Asking for all topics: asking for one by name may create it.
                described = [one["partitions"] for one in await admin.describe_topics() if one["topic"] == topic and not one["error_code"]]
        finally:
            with contextlib.suppress(kafka_errors.KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    await admin.close()
        if not described:
            raise BrokerAway(f"no topic {topic}")
        return [TopicPartition(topic, number) for number in sorted(one["partition"] for one in described[0])]

    async def _from(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], topic: str, from_ms: int) -> AsyncIterator[list[Stored]]:
        async with asyncio.timeout(self._timeout_s):
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            # Nothing is older than the epoch, and the client refuses to ask.
            starts = await consumer.offsets_for_times(dict.fromkeys(partitions, max(from_ms, 0)))
        firsts = {at: start.offset if (start := starts[at]) is not None else ends[at] for at in partitions}
        if any(0 < begins[at] == firsts[at] for at in partitions):
            self.cut.add(topic)
        left = {at for at in partitions if firsts[at] < ends[at]}
        consumer.assign(left)
        for at in left:
            consumer.seek(at, firsts[at])
        heard_s = asyncio.get_running_loop().time()
        while left:
            found = await consumer.getmany(*left, timeout_ms=1000)
            now_s = asyncio.get_running_loop().time()
            heard_s = now_s if found else heard_s
            for at, batch in found.items():
                yield [Stored(one.timestamp, one.value or b"", one.headers) for one in batch if one.offset < ends[at]]
            # By position: where a log is compacted its last offset need not be there.
            left = {at for at in left if await consumer.position(at) < ends[at]}
            if left and now_s - heard_s > _SILENT_S:
                raise BrokerAway(f"{topic}: silent")
