"""An id lasts as long as its sequences go on and none of its records is lost."""

import asyncio
import errno
from pathlib import Path
from typing import Final

import pytest

from gateway.errors import SpoolFailed
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.ids import ID_FILE
from tests.fakes import in_virtual_time
from tests.simulated_disk import SimulatedDisk
from tests.spools import HOME, fail, opened, segments, some, spool_on

ROOT: Final = HOME.parent


def file_of(disk: SimulatedDisk, name: str = "0") -> bytearray:
    return disk.inodes[disk.directories[ROOT / name][ID_FILE]]


@in_virtual_time
async def test_it_is_kept_through_kills_and_clean_ends() -> None:
    disk = SimulatedDisk()
    first = await opened(disk)
    assert first.spool_id
    await first.append("syncs", 0, some(0, 3))
    again = await opened(disk)
    assert again.spool_id == first.spool_id
    again.settle(range(1_000))
    await again.close()
    assert (await opened(disk)).spool_id == first.spool_id
    assert file_of(disk) == b"%016x\n" % first.spool_id


@in_virtual_time
async def test_two_directories_have_two() -> None:
    disk = SimulatedDisk()
    assert (await opened(disk)).spool_id != (await opened(disk, "1")).spool_id


@in_virtual_time
async def test_sequences_that_begin_anew_have_another() -> None:
    """Somebody has removed the segments: the old receipts must not be answered by the new ones' watermark."""
    disk = SimulatedDisk()
    first = await opened(disk)
    await first.append("syncs", 0, some(0, 3))
    for name in segments(disk):
        disk.unlink(ROOT / "0" / name)
    assert (await opened(disk)).spool_id not in (0, first.spool_id)


@in_virtual_time
async def test_a_directory_that_lost_records_has_another() -> None:
    disk = SimulatedDisk()
    first = await opened(disk)
    for _ in range(2):
        await first.append("syncs", 0, some(0, 3))
    [name] = segments(disk)
    content = disk.inodes[disk.directories[ROOT / "0"][name]]
    content[150] ^= 1
    found = await opened(disk)
    assert (found.frames_set_aside, found.spool_id == first.spool_id) == (1, False)


@in_virtual_time
async def test_a_segment_that_cannot_be_opened_is_a_loss_too() -> None:
    disk = SimulatedDisk()
    first = await opened(disk)
    for _ in range(3):
        await first.append("syncs", 0, some(0, 3, 2_000))
    refused = segments(disk)[0]
    real = disk.open

    def broken(path: Path) -> object:
        if path.name == refused:
            raise OSError(errno.EIO, "broken")
        return real(path)

    disk.open = broken  # type: ignore[method-assign, assignment]
    found = await opened(disk)
    assert found.spool_id != first.spool_id
    assert found.waiting()


@pytest.mark.parametrize("content", [b"", b"\n", b"xyz", b"0" * 16, b"+123456789abcdef\n", b"\xff" * 17, b"1" * 17])
def test_a_file_that_says_nothing_is_replaced(content: bytes) -> None:
    @in_virtual_time
    async def run() -> None:
        disk = SimulatedDisk()
        first = await opened(disk)
        await first.append("syncs", 0, some(0, 3))
        file_of(disk)[:] = content
        found = await opened(disk)
        assert found.spool_id not in (0, first.spool_id)
        assert (await opened(disk)).spool_id == found.spool_id

    run()


@in_virtual_time
async def test_one_that_cannot_be_read_is_replaced() -> None:
    disk = SimulatedDisk()
    first = await opened(disk)
    await first.append("syncs", 0, some(0, 3))
    disk.unreadable[disk.directories[HOME][ID_FILE]] = {3}
    assert (await opened(disk)).spool_id not in (0, first.spool_id)


@in_virtual_time
async def test_a_disk_that_can_only_be_read_is_replayed_from_under_the_id_it_has() -> None:
    disk = SimulatedDisk()
    first = await opened(disk)
    sequences = await first.append("syncs", 0, some(0, 3))
    fail(disk, ["append", "create", "sync", "sync_directory", "make_directory", "unlink", "rename"], errno.EROFS)
    again = await opened(disk)
    again.settle(sequences[:1])
    assert again.watermarks() == {first.spool_id: sequences[1]}
    file_of(disk)[:] = b""
    unnamed = await opened(disk)
    assert (unnamed.waiting(), unnamed.watermarks()) == ({("syncs", 0): 3}, {})


@in_virtual_time
async def test_without_one_nothing_is_taken() -> None:
    """A disk that cannot keep it cannot keep records; when it can, all goes on."""
    disk = SimulatedDisk()
    fail(disk, ["sync"], errno.ENOSPC)
    made = spool_on(disk)
    await made.open()
    assert (made.spool_id, made.watermarks(), made.reason) == (0, {}, "failed")
    with pytest.raises(SpoolFailed):
        made.append("syncs", 0, some(0, 3))
    fail(disk, [])
    await wait_until_open(made)
    assert made.spool_id
    await made.close()


async def wait_until_open(made: DiskSpool) -> None:
    while not made.is_open:
        await asyncio.sleep(0.1)


@in_virtual_time
async def test_a_write_that_failed_is_not_below_the_watermark_until_its_sequences_cannot_be_given_again() -> None:
    disk = SimulatedDisk()
    made = await opened(disk)
    sequences = await made.append("syncs", 0, some(0, 3))
    made.settle(sequences)
    fail(disk, ["sync"])
    with pytest.raises(SpoolFailed):
        await made.append("syncs", 0, some(0, 3))
    assert made.watermarks() == {made.spool_id: sequences.stop}
    fail(disk, [])
    await wait_until_open(made)
    assert made.watermarks() == {made.spool_id: sequences.stop + 3}
    await made.close()


# Adopted


@in_virtual_time
async def test_who_adopts_speaks_of_it_in_its_own_sequences() -> None:
    disk = SimulatedDisk()
    gone = await opened(disk, "1")
    given = await gone.append("syncs", 0, some(0, 3))
    made = await opened(disk)
    ours = await made.append("syncs", 0, some(0, 3))
    assert await made.adopt(ROOT / "1")
    assert made.watermarks() == {made.spool_id: ours.start, gone.spool_id: given.start}
    [*_, last] = [sequence for sequence, _ in await made.read("syncs", 0, 1 << 20)]
    made.settle(range(last))
    assert made.watermarks() == {made.spool_id: made.watermark, gone.spool_id: given.stop - 1}
    made.settle(range(last + 1))
    assert made.watermarks()[gone.spool_id] == given.stop
    await made._idle()
    assert made.watermarks()[gone.spool_id] == given.stop, "its files are gone, and it is still spoken of"
    await made.close()
    later = await opened(disk)
    assert await later.adopt(ROOT / "1")
    assert later.watermarks()[gone.spool_id] == given.stop, "it had nothing left"
    await later.close()


@in_virtual_time
async def test_what_was_adopted_does_not_raise_our_own_watermark_above_what_a_kill_gives_again() -> None:
    disk = SimulatedDisk()
    gone = await opened(disk, "1")
    await gone.append("syncs", 0, some(0, 50))
    made = await opened(disk)
    made.settle(await made.append("syncs", 0, some(200, 3)))
    await made._idle()
    assert await made.adopt(ROOT / "1")
    told = made.watermarks()[made.spool_id]
    again = await opened(disk)  # killed
    assert again.spool_id == made.spool_id
    assert (await again.append("syncs", 0, some(100, 3))).start >= told


@in_virtual_time
async def test_a_damaged_directory_loses_its_id_to_who_adopts_it() -> None:
    disk = SimulatedDisk()
    gone = await opened(disk, "1")
    for _ in range(2):
        await gone.append("syncs", 0, some(0, 3))
    [name] = segments(disk, "1")
    disk.inodes[disk.directories[ROOT / "1"][name]][150] ^= 1
    made = await opened(disk)
    assert await made.adopt(ROOT / "1")
    assert set(made.watermarks()) == {made.spool_id}
    made.settle(range(1_000))
    await made.close()
    later = await opened(disk)
    await later.adopt(ROOT / "1")
    assert set(later.watermarks()) == {later.spool_id}, "now that no damage is to be seen any more"
    await later.close()


@in_virtual_time
async def test_nobody_speaks_of_a_directory_whose_segments_are_gone() -> None:
    disk = SimulatedDisk()
    gone = await opened(disk, "1")
    await gone.append("syncs", 0, some(0, 3))
    for name in segments(disk, "1"):
        disk.unlink(ROOT / "1" / name)
    made = await opened(disk)
    await made.adopt(ROOT / "1")
    assert set(made.watermarks()) == {made.spool_id}
    await made.close()
