"""What a spool writes: what shares a sync, and what a disk that fails costs.  Its promises stand in tests/contracts/test_spool.py."""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import TypeVar
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from gateway.config import Spool as Settings
from gateway.errors import SpoolFailed
from gateway.spool.commits import PROBE_S
from tests.fakes import in_virtual_time
from tests.simulated_disk import SimulatedDisk, SlowDisk
from tests.spools import HOME, MANY, SETTINGS, fail, names, opened, segments, some

T = TypeVar("T")


def syncs(disk: SimulatedDisk) -> int:
    return sum(op.kind == "sync" for op in disk.log)


@in_virtual_time
async def test_what_is_appended_at_once_shares_one_sync() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    before = syncs(disk)
    answers = await asyncio.gather(*(spool.append("syncs", n % 3, some(n, 1)) for n in range(30)))
    assert (syncs(disk) - before, spool.frames_synced) == (1, 3)
    assert sorted(one.start for one in answers) == list(range(30))


@in_virtual_time
async def test_who_appends_again_when_answered_shares_the_next_sync() -> None:
    disk = SlowDisk()
    spool = await opened(disk)
    before = syncs(disk)
    again: list[asyncio.Future[range]] = []
    first = spool.append("syncs", 0, some(0, 1))
    first.add_done_callback(lambda _: again.append(spool.append("syncs", 0, some(1, 1))))
    await asyncio.sleep(0.005)  # its commit has begun: what comes now is in the next
    await asyncio.gather(first, spool.append("syncs", 1, some(2, 1)))
    await again[0]
    assert syncs(disk) - before == 2


@in_virtual_time
async def test_large_appends_are_several_frames_and_one_range() -> None:
    disk = SimulatedDisk()
    settings = Settings(bytes_max=1 << 24, signups_reserve_bytes=0, segment_bytes=1 << 23)
    spool = await opened(disk, settings=settings)
    sequences = await spool.append("syncs", 0, some(0, 100, 9_000))
    assert (len(sequences), spool.frames_synced) == (100, 4)
    assert await names(spool) == [f"e{n}" for n in range(100)]


@in_virtual_time
async def test_a_request_that_was_cancelled_leaves_the_others_be() -> None:
    spool = await opened(SimulatedDisk())
    first, second = spool.append("syncs", 0, some(0, 1)), spool.append("syncs", 0, some(1, 1))
    first.cancel()
    assert await second == range(1, 2)
    assert await names(spool) == ["e0", "e1"]


@pytest.mark.parametrize("kind", ["append", "sync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_is_believed_at_once_and_tried_again(kind: str, number: int) -> None:
    @in_virtual_time
    async def play() -> None:
        disk = SimulatedDisk()
        spool = await opened(disk)
        kept = await spool.append("syncs", 0, some(0, 2))
        fail(disk, [kind, "create"], number)
        futures = [spool.append("syncs", 0, some(2, 2)), spool.append("syncs", 1, some(4, 1))]
        for future in futures:
            with pytest.raises(SpoolFailed, match=os.strerror(number)):
                await future
        assert (spool.reason, spool.is_open, spool.takes("signups"), spool.frames_failed) == ("failed", False, False, 2)
        with pytest.raises(SpoolFailed):
            spool.append("syncs", 0, some(5, 1))
        assert await names(spool) == ["e0", "e1"], "what was synced before stays good"
        failed_syncs = sum(op.kind == "sync-failed" for op in disk.log)
        await asyncio.sleep(3 * PROBE_S)
        assert sum(op.kind == "sync-failed" for op in disk.log) == failed_syncs, "a failed sync is never tried again"
        fail(disk, [])
        await asyncio.sleep(2 * PROBE_S)
        assert spool.reason == "ok"
        again = await spool.append("syncs", 0, some(6, 1))
        assert again.start > kept.stop
        assert await names(spool) == ["e0", "e1", "e6"]
        await spool.close()

    play()


@in_virtual_time
async def test_nothing_is_appended_to_a_segment_whose_sync_failed() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    await spool.append("syncs", 0, some(0, 1))
    broken = disk.directories[HOME].copy()
    fail(disk, ["sync"])
    with pytest.raises(SpoolFailed):
        await spool.append("syncs", 0, some(1, 1))
    sizes = {name: len(disk.inodes[inode]) for name, inode in broken.items()}
    fail(disk, [])
    await asyncio.sleep(2 * PROBE_S)
    await spool.append("syncs", 0, some(2, 1))
    assert {name: len(disk.inodes[inode]) for name, inode in broken.items()} == sizes


@in_virtual_time
async def test_a_read_only_disk_is_replayed_from() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    await spool.append("syncs", 0, some(0, 3))
    fail(disk, ["append", "create", "sync", "sync_directory", "make_directory", "unlink"], errno.EROFS)
    again = await opened(disk)
    assert (again.reason, await names(again)) == ("failed", ["e0", "e1", "e2"])
    again.settle(range(MANY))
    fail(disk, [])
    await asyncio.sleep(2 * PROBE_S)
    assert (again.reason, again.waiting(), len(segments(disk))) == ("ok", {}, 1)


@in_virtual_time
async def test_a_disk_that_is_not_there_at_start_is_recovered_when_it_comes() -> None:
    disk = SimulatedDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 3))
    fail(disk, ["lock"])
    spool = await opened(disk)
    assert (spool.reason, spool.waiting()) == ("failed", {})
    with pytest.raises(SpoolFailed):
        spool.append("syncs", 0, some(3, 1))
    fail(disk, [])
    await asyncio.sleep(2 * PROBE_S)
    assert await names(spool) == ["e0", "e1", "e2"]
    assert (await spool.append("syncs", 0, some(3, 1))).start >= 3


@in_virtual_time
async def test_a_full_disk_opens_again_when_a_segment_has_room() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    disk.free = SETTINGS.segment_bytes - 1
    for n in range(4):
        try:
            await spool.append("syncs", 0, some(n, 1, 3_000))
        except SpoolFailed:
            break
    await asyncio.sleep(5 * PROBE_S)
    assert not spool.is_open
    disk.free = SETTINGS.segment_bytes
    await asyncio.sleep(2 * PROBE_S)
    assert spool.reason == "ok"


@in_virtual_time
async def test_what_is_taken_over_while_a_segment_is_made_has_none_of_its_sequences() -> None:
    """Else what is appended to the new segment later is taken for what was adopted, and settled with it."""
    disk = SimulatedDisk()
    await (await opened(disk, "1")).append("syncs", 0, some(0, 3))
    spool = await opened(disk)

    async def slow(work: Callable[[], T]) -> T:
        done = work()
        await asyncio.sleep(1)
        return done

    with patch.object(disk, "run", slow):
        spool._commits.roll()
        await asyncio.sleep(0)
    assert await spool.adopt(HOME.parent / "1")
    await asyncio.sleep(2)
    await spool.append("syncs", 0, some(3, 1))
    for name in ("e0", "e1", "e2", "e3"):
        (sequence, record), *_ = await spool.read("syncs", 0, MANY)
        assert record.event_id == name
        spool.settle(range(sequence, sequence + 1))
    assert spool.waiting() == {}


@in_virtual_time
async def test_what_a_disk_that_failed_never_took_takes_no_room() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk, settings=replace(SETTINGS, bytes_max=1 << 24, segment_bytes=1 << 23))
    fail(disk, ["sync"])
    # Too much for one commit: the second is still pending when the first fails.
    futures = [spool.append("syncs", 0, some(n, 1, 3 << 20)) for n in range(2)]
    await asyncio.gather(*futures, return_exceptions=True)
    assert spool._books.promised_bytes == 0


@in_virtual_time
async def test_what_a_failed_commit_may_have_written_takes_room() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    before = spool.size_bytes
    fail(disk, ["sync"])
    with pytest.raises(SpoolFailed):
        await spool.append("syncs", 0, some(0, 1, 3_000))
    on_disk = sum(len(disk.inodes[disk.directories[HOME][name]]) for name in segments(disk))
    assert spool.size_bytes >= on_disk > before


@in_virtual_time
async def test_a_segment_that_was_begun_is_not_begun_again() -> None:
    disk = SimulatedDisk()
    gone = await opened(disk, "1")
    await gone.append("syncs", 0, some(10, 1))
    spool = await opened(disk)
    assert await spool.adopt(HOME.parent / "1")
    for n in range(5):
        await spool.append("syncs", 0, some(n, 1))
    assert len(segments(disk)) == 1, "one behind what was adopted"
