"""What a spool is done with goes, and nothing else."""

from tests.fakes import in_virtual_time
from tests.simulated_disk import SimulatedDisk
from tests.spools import HOME, fail, opened, segments, some


@in_virtual_time
async def test_a_segment_goes_when_nothing_in_it_is_left_and_a_newer_one_is_there() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    ranges = [await spool.append("syncs", 0, some(n, 1, 3_000)) for n in range(10)]
    assert len(segments(disk)) == 5
    full = spool.size_bytes
    for one in ranges:
        spool.settle(one)
    await spool._idle()
    assert (len(segments(disk)), spool.waiting()) == (1, {})
    assert spool.size_bytes == sum(len(disk.inodes[disk.directories[HOME][name]]) for name in segments(disk)) < full


@in_virtual_time
async def test_a_segment_that_cannot_be_removed_goes_with_the_next() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    ranges = [await spool.append("syncs", 0, some(n, 1, 5_000)) for n in range(4)]
    fail(disk, ["unlink"])
    spool.settle(ranges[0])
    await spool._idle()
    assert len(segments(disk)) == 4
    fail(disk, [])
    spool.settle(ranges[1])
    await spool._idle()
    assert len(segments(disk)) == 2
