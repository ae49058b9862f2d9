"""A spool read back: what cannot be read blocks nobody, and is not given up before its time."""

import asyncio
import errno
import random

import pytest

from gateway.disk import PAUSES_S
from gateway.spool.disk_spool import DiskSpool
from tests.fakes import in_virtual_time
from tests.simulated_disk import Crash, Loss, SimulatedDisk
from tests.spools import HOME, MANY, fail, names, opened, segments, some


async def with_frames(count: int) -> tuple[SimulatedDisk, DiskSpool]:
    """One segment with so many frames of a record."""
    disk = SimulatedDisk()
    spool = await opened(disk)
    for n in range(count):
        await spool.append("syncs", 0, some(n, 1, 500))
    return disk, spool


@in_virtual_time
async def test_a_frame_that_is_damaged_is_put_aside_and_blocks_nobody() -> None:
    disk, spool = await with_frames(3)
    [name] = segments(disk)
    disk.inodes[disk.directories[HOME][name]][64 + 700] ^= 1
    assert await names(spool) == ["e0", "e2"]
    assert (spool.frames_set_aside, spool.waiting()) == (1, {("syncs", 0): 2})
    spool.settle(range(MANY))
    again = await opened(Crash.of(disk).disk(Loss("none"), random.Random(1)))
    assert await names(again) == ["e0", "e2"], "a kill forgets what was settled"
    assert again.frames_set_aside == 1


@pytest.mark.parametrize("kind", ["open", "read"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENFILE])
def test_what_a_disk_does_not_give_at_once_is_asked_for_again(kind: str, number: int) -> None:
    @in_virtual_time
    async def play() -> None:
        disk, spool = await with_frames(3)
        failures = iter([number] * len(PAUSES_S))
        disk.faults = lambda asked: next(failures, 0) if asked == kind else 0
        assert await names(spool) == ["e0", "e1", "e2"]
        assert (spool.frames_set_aside, spool.records_aside) == (0, 0)

    play()


@in_virtual_time
async def test_a_want_of_descriptors_is_waited_out_however_long_it_takes() -> None:
    disk, spool = await with_frames(3)
    fail(disk, ["open"], errno.EMFILE)
    for _ in range(20):
        assert await names(spool) == []
    assert (spool.records_aside, spool.waiting()) == (0, {("syncs", 0): 3})
    fail(disk, [])
    assert await names(spool) == ["e0", "e1", "e2"]


@in_virtual_time
async def test_what_a_disk_never_gives_is_put_aside_and_only_the_first_of_a_segment_is_waited_for() -> None:
    disk, spool = await with_frames(9)
    places = [*spool._books.backlog.parts[0].index.places]
    [name] = segments(disk)
    inode = disk.directories[HOME][name]
    disk.unreadable = {inode: {place + 100 for place in places[2:8]}}
    assert await names(spool) == ["e0", "e1"], "no later one before those"
    spool.settle(range(2))
    began_s = asyncio.get_running_loop().time()
    assert await names(spool) == ["e8"]
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(sum(PAUSES_S))
    assert (spool.frames_set_aside, spool.records_aside) == (6, 6)
    disk.unreadable = {}
    assert await names(await opened(disk)) == [f"e{n}" for n in range(9)], "the next start looks again"
