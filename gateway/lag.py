"""What downstream has consumed of the sign-ups: asked of Kafka, for the pace of the waiting room.

Decided here: what counts as produced and as consumed.  Not decided here: how often it is asked
(pacer.py, once a second) and what rate follows (core/pace.py).

    produced   the ends of all partitions
    consumed   what the group has committed; where it has committed nothing, where the partition began

A partition without a commit has been consumed by nobody as far as anybody knows.  To count it as
consumed up to its end would make each sign-up look taken at once, and the door would open to its
ceiling in front of consumers that have not started.  It began where it began when it was first seen:
retention that deletes old records must not look like consumption.  The first commit may then jump:
`committed` tells how many partitions have one, so that the reader of it can tell a jump from progress.

Commits are read before ends, so a lag is never less than it was.  One question at a time, each within
its time; whatever fails is a BrokerAway, and the next question begins with connections of its own.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient

from gateway.errors import BrokerAway

_PARTITIONS_EVERY: Final = 30  # questions: a topic that has grown is noticed within half a minute
_TEARDOWN_S: Final = 2.0


class Progress(NamedTuple):
    """How far both sides have come."""

    produced: int
    consumed: int
    committed: int  # partitions of which the group has committed anything

    @property
    def lag(self) -> int:
        """Sign-ups that wait."""
        return max(self.produced - self.consumed, 0)


class Lag(Protocol):
    """What the pacer needs of Kafka."""

    async def read(self) -> Progress:
        """Where both stand now.  Raises BrokerAway, within its time."""

    async def close(self) -> None:
        """Let go of connections."""


def progress_of(begins: Mapping[int, int], ends: Mapping[int, int], commits: Mapping[int, int]) -> Progress:
    """All partitions' sums, each by its number; who committed nothing is not in `commits`, or there with -1."""
    real = {partition: offset for partition, offset in commits.items() if offset >= 0}
    consumed = sum(real.get(partition, begins[partition]) for partition in ends)
    return Progress(sum(ends.values()), consumed, len(real.keys() & ends.keys()))


class _Contact(NamedTuple):
    """Two clients, for neither can do both: the admin reads any group's commits, the consumer a partition's ends."""

    admin: AIOKafkaAdminClient
    consumer: AIOKafkaConsumer


class LagReader:
    """The real Kafka behind `Lag`.  It joins no group and commits nothing."""

    def __init__(self, bootstrap: str, topic: str, group: str, *, timeout_s: float) -> None:
        """Args: timeout_s: for a whole question, contact included."""
        self._bootstrap = bootstrap
        self._topic = topic
        self._group = group
        self._timeout_s = timeout_s
        self._contact: _Contact | None = None
        self._coordinator = 0
        self._partitions: list[TopicPartition] = []
        self._begins: dict[int, int] = {}
        self._asked = 0

    async def read(self) -> Progress:
        """Where both stand now."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._read()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            await self.close()
            raise exc if isinstance(exc, BrokerAway) else BrokerAway(type(exc).__name__) from exc

    async def close(self) -> None:
        """Let go of connections; where the broker is frozen, of what it still owes us too."""
        contact, self._contact = self._contact, None
        if contact is None:
            return
        for closing in (contact.admin.close, contact.consumer.stop):
            with contextlib.suppress(kafka_errors.KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(_TEARDOWN_S):
                    await closing()

    async def _read(self) -> Progress:
        contact = self._contact or await self._connect()
        if self._asked % _PARTITIONS_EVERY == 0:
            await self._look_around(contact)
        self._asked += 1
        found = await contact.admin.list_consumer_group_offsets(self._group, self._coordinator, self._partitions)
        if len(found) < len(self._partitions):
            # The coordinator has moved or still loads: the client passes over what the answer says as a whole, and shows none.
            raise BrokerAway("the group's coordinator does not know its commits")
        ends = await contact.consumer.end_offsets(self._partitions)
        if any(ends[at] < self._begins[at.partition] for at in self._partitions):
            self._begins.clear()
            raise BrokerAway("the topic was made anew")
        return progress_of(self._begins, {at.partition: end for at, end in ends.items()}, {at.partition: commit.offset for at, commit in found.items()})

    async def _connect(self) -> _Contact:
        request_timeout_ms = int(self._timeout_s * 1000)
        # Kept before anything is awaited: who fails on the way closes both.
        self._contact = contact = _Contact(
            AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id="sluicegate-lag", request_timeout_ms=request_timeout_ms),
            AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap, client_id="sluicegate-lag", request_timeout_ms=request_timeout_ms, group_id=None, enable_auto_commit=False
            ),
        )
        await contact.admin.start()
        await contact.consumer.start()
        self._coordinator = await contact.admin.find_coordinator(self._group)
        self._asked = 0
        return contact

    async def _look_around(self, contact: _Contact) -> None:
        """Which partitions there are, and where new ones begin."""
        # Asking for all topics: asking for one by name may create it.
        described = [t for t in await contact.admin.describe_topics() if t["topic"] == self._topic and not t["error_code"]]
        if not described or not described[0]["partitions"]:
            raise BrokerAway(f"no topic {self._topic}")
        self._partitions = [TopicPartition(self._topic, number) for number in sorted(part["partition"] for part in described[0]["partitions"])]
        new = [at for at in self._partitions if at.partition not in self._begins]
        if new:
            begins = await contact.consumer.beginning_offsets(new)
            self._begins.update({at.partition: begin for at, begin in begins.items()})
