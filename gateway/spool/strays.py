"""Records in the spool whose partition is gone: each goes to the one that its key has now.

A topic loses partitions only by being made anew, and a start while Kafka is away goes by what was known of it.  What was
accepted for the partitions of before would wait for ever.

They are appended again, and settled where they were once that is durable: a kill in between leaves both, which the
event's id gives away.  Their receipts name where they were, and say nothing more.  Records of a key keep their order;
beside what came since the topic was made anew there is none.

A spool that is full takes them all the same, for nothing else may ever make room: each is moved once, so it grows by no
more than they take, and shrinks again with the segments that they were in.
"""

from collections.abc import Mapping
from typing import Final

from gateway import logs
from gateway.core.event import Record
from gateway.kafka import key_hash
from gateway.spool.store import Spool

_READ_BYTES: Final = 262_144


async def moved(spool: Spool, partitions: Mapping[str, int]) -> int:
    """How many were moved: all that wait for a partition that is not there.

    Args: partitions: of each topic that there is.

    Raises:
        SpoolError: the disk took no more; the rest is where it was.
    """
    total = 0
    for (topic, partition), waiting in spool.waiting().items():
        if partition < partitions.get(topic, partition + 1):
            continue
        if not total:
            await spool.give_up_ids()
        logs.warning("records wait for a partition that is gone", topic=topic, partition=partition, records=waiting)
        while entries := await spool.read(topic, partition, _READ_BYTES):
            by_partition: dict[int, list[tuple[int, Record]]] = {}
            for sequence, record in entries:
                by_partition.setdefault(key_hash(record.key) % partitions[topic], []).append((sequence, record))
            for number, some in by_partition.items():
                await spool.append(topic, number, [record for _, record in some], is_moved=True)
                for sequence, _ in some:  # at once: if the next append fails, these are not moved again
                    spool.settle(range(sequence, sequence + 1))
                total += len(some)
    return total
