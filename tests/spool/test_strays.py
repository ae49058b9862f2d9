"""What waits for a partition that is gone does not wait for ever."""

import asyncio

import pytest

from gateway.errors import SpoolFailed
from gateway.kafka import key_hash
from gateway.spool.strays import moved
from tests.fakes import in_virtual_time
from tests.memory_spool import MemorySpool
from tests.records import made
from tests.simulated_disk import SimulatedDisk
from tests.spools import SETTINGS, opened, some


async def filled() -> MemorySpool:
    spool = MemorySpool()
    await spool.open()
    for n in range(12):
        await spool.append("syncs.v1", n % 3, [made(f"{n}", b"u%d" % (n % 5), b"{}")])
    await spool.append("others", 9, [made("other")])
    return spool


@in_virtual_time
async def test_each_goes_where_its_key_belongs_now_and_keeps_its_order() -> None:
    spool = await filled()
    assert await moved(spool, {"syncs.v1": 2, "signups.v1": 1}) == 4
    assert spool.waiting().keys() == {("syncs.v1", 0), ("syncs.v1", 1), ("others", 9)}
    strays = {f"{n}" for n in range(2, 12, 3)}
    for partition in (0, 1):
        found = [record for _, record in await spool.read("syncs.v1", partition, 1 << 20) if record.event_id in strays]
        assert all(key_hash(record.key) % 2 == partition for record in found)
        assert [int(record.event_id) for record in found] == sorted(int(record.event_id) for record in found)
        strays -= {record.event_id for record in found}
    assert strays == set()
    assert await moved(spool, {"syncs.v1": 2}) == 0


@in_virtual_time
async def test_a_receipt_of_what_was_moved_says_nothing_more() -> None:
    """Where it was is settled, and Kafka does not have it yet."""
    spool = await filled()
    before = spool.spool_id
    assert await moved(spool, {"others": 10}) == 0
    assert spool.spool_id == before, "nothing was moved"
    await moved(spool, {"syncs.v1": 2})
    assert before not in spool.watermarks()


@in_virtual_time
async def test_a_disk_that_takes_no_more_keeps_them_where_they_are() -> None:
    spool = await filled()
    spool.is_broken = True
    with pytest.raises(SpoolFailed):
        await moved(spool, {"syncs.v1": 2})
    assert spool.waiting()["syncs.v1", 2] == 4


@in_virtual_time
async def test_what_was_moved_before_the_disk_failed_is_not_moved_again() -> None:
    spool, before = await filled(), 33
    await asyncio.gather(*(spool.append("syncs.v1", 2, [made(f"m{n}", b"v%d" % n, b"{}")]) for n in range(20)))
    settle = spool.settle

    def settle_and_break(sequences: range) -> None:
        settle(sequences)
        spool.is_broken = True

    spool.settle = settle_and_break  # type: ignore[method-assign]
    with pytest.raises(SpoolFailed):
        await moved(spool, {"syncs.v1": 2})
    assert 0 < spool.waiting()["syncs.v1", 2] < 24
    assert sum(spool.waiting().values()) == before
    spool.settle, spool.is_broken = settle, False  # type: ignore[method-assign]
    await moved(spool, {"syncs.v1": 2})
    assert (sum(spool.waiting().values()), len(spool.records)) == (before, before)
    assert len({record.event_id for record in spool.records}) == before


@in_virtual_time
async def test_a_full_spool_moves_them_and_has_room_again() -> None:
    """Else they would wait for room that only they can make."""
    disk = SimulatedDisk()
    spool = await opened(disk)
    given = list[tuple[int, range]]()
    while spool.reason == "ok":
        given.append((len(given) % 4, await spool.append("syncs", len(given) % 4, some(len(given), 1, 1_000))))
    for partition, sequences in given:
        if partition < 2:
            spool.settle(sequences)
    await spool._idle()
    assert spool.reason == "full"
    strays = sum(partition >= 2 for partition, _ in given)
    assert await moved(spool, {"syncs": 2}) == strays
    await spool._idle()
    assert (spool.reason, sum(spool.waiting().values())) == ("ok", strays)
    assert spool.size_bytes < SETTINGS.bytes_max
