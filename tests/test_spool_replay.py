"""A spool read back: what cannot be read blocks nobody."""

from tests.fakes import in_virtual_time
from tests.simulated_disk import SimulatedDisk
from tests.spools import HOME, MANY, names, opened, some


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
