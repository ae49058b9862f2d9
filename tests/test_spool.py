"""What only a spool on a disk can do: share syncs, fail, and come back.  Its promises stand in tests/contracts/test_spool.py."""

import asyncio
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from gateway.config import Spool as Settings
from gateway.core.event import Record
from gateway.errors import ConfigError, SpoolFailed
from gateway.spool import PROBE_S, DiskSpool
from tests.fakes import FakeClock, in_virtual_time
from tests.records import made
from tests.simulated_disk import SimulatedDisk

HOME: Final = Path("/data/spool/0")
SETTINGS: Final = Settings(bytes_max=400_000, signups_reserve_bytes=10_000, segment_bytes=8_000, rejected_bytes_max=20_000)
MANY: Final = 1 << 30


def some(first: int, count: int, size: int = 10) -> list[Record]:
    return [made(f"e{n}", b"u1", b"x" * size) for n in range(first, first + count)]


async def opened(disk: SimulatedDisk, name: str = "0") -> DiskSpool:
    disk.kill()
    spool = DiskSpool(SETTINGS, HOME.parent / name, [bytes(32)], FakeClock().clock, disk, reserved_for="signups")
    await spool.open()
    return spool


async def names(spool: DiskSpool, topic: str = "syncs", partition: int = 0) -> list[str]:
    return [one.event_id for _, one in await spool.read(topic, partition, MANY)]


def fail(disk: SimulatedDisk, kinds: Iterable[str], number: int = errno.EIO) -> None:
    failing = set(kinds)
    disk.faults = lambda kind: number if kind in failing else 0


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
async def test_a_segment_goes_when_nothing_in_it_is_left_and_a_newer_one_is_there() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    ranges = [await spool.append("syncs", 0, some(n, 1, 3_000)) for n in range(10)]
    assert len(disk.names(HOME)) == 5
    full = spool.size_bytes
    for one in ranges:
        spool.settle(one)
    await spool._idle()
    assert (len(disk.names(HOME)), spool.waiting()) == (1, {})
    assert spool.size_bytes == sum(len(disk.inodes[inode]) for inode in disk.directories[HOME].values()) < full


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
    assert (again.reason, again.waiting(), len(disk.names(HOME))) == ("ok", {}, 1)


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
async def test_a_segment_that_cannot_be_removed_goes_with_the_next() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    ranges = [await spool.append("syncs", 0, some(n, 1, 5_000)) for n in range(4)]
    fail(disk, ["unlink"])
    spool.settle(ranges[0])
    await spool._idle()
    assert len(disk.names(HOME)) == 4
    fail(disk, [])
    spool.settle(ranges[1])
    await spool._idle()
    assert len(disk.names(HOME)) == 2


@in_virtual_time
async def test_a_frame_that_cannot_be_read_is_put_aside_and_blocks_nobody() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    for n in range(3):
        await spool.append("syncs", 0, some(n, 1, 500))
    [inode] = disk.directories[HOME].values()
    disk.inodes[inode][64 + 700] ^= 1
    assert await names(spool) == ["e0", "e2"]
    assert (spool.frames_set_aside, spool.waiting()) == (1, {("syncs", 0): 2})
    spool.settle(range(MANY))
    again = await opened(disk)
    assert await names(again) == ["e0", "e2"], "a kill forgets what was settled"
    assert again.frames_set_aside == 1


@in_virtual_time
async def test_large_appends_are_several_frames_and_one_range() -> None:
    disk = SimulatedDisk()
    settings = Settings(bytes_max=1 << 24, signups_reserve_bytes=0, segment_bytes=1 << 23)
    spool = DiskSpool(settings, HOME, [bytes(32)], FakeClock().clock, disk, reserved_for="signups")
    await spool.open()
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


@in_virtual_time
async def test_a_key_that_is_not_there_is_a_wrong_start() -> None:
    disk = SimulatedDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 1))
    disk.kill()
    spool = DiskSpool(SETTINGS, HOME, [b"n" * 32], FakeClock().clock, disk, reserved_for="signups")
    with pytest.raises(ConfigError, match="want it back"):
        await spool.open()


@in_virtual_time
async def test_a_disk_that_fails_is_not_adopted_from() -> None:
    disk = SimulatedDisk()
    gone = await opened(disk, "1")
    await gone.append("syncs", 0, some(0, 2))
    spool = await opened(disk)
    fail(disk, ["create"])
    assert not await spool.adopt(HOME.parent / "1")
    fail(disk, [])
    assert await spool.adopt(HOME.parent / "1")
    assert await names(spool) == ["e0", "e1"]
    spool.settle(range(MANY))
    await spool._idle()
    assert len(disk.names(HOME.parent / "1")) == 1, "its next sequence outlives its records"
    assert HOME.parent / "1" not in disk.locks


@in_virtual_time
async def test_a_bug_in_the_background_is_loud() -> None:
    spool = await opened(SimulatedDisk())
    spool._log.has_room = None  # type: ignore[method-assign,assignment]
    spool.append("syncs", 0, some(0, 1))
    await spool._idle()
    assert isinstance(spool.failed(), TypeError)
    assert spool.reason == "failed"
