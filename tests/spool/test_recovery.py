"""What a disk does not give at a start is asked for again, comes late, or is counted; it is never called a torn tail."""

import asyncio
import errno

import pytest
from msgspec.structs import replace

from gateway.core.backlog import Backlog
from gateway.disk import PAUSES_S
from gateway.spool.commits import PROBE_S
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.ids import ID_FILE
from gateway.spool.recovery import recovered
from gateway.spool.sweep import AGAIN_S, LOOKS_MAX
from tests.fakes import in_virtual_time
from tests.simulated_disk import SimulatedDisk
from tests.spools import HOME, MANY, SETTINGS, fail, names, opened, segments, some, spool_on

ROOMY = replace(SETTINGS, segment_bytes=20_000)
WHOLE = [f"e{n}" for n in range(6)]


async def left() -> tuple[SimulatedDisk, int]:
    """A disk with one segment of six frames, over two blocks and more; its inode."""
    disk = SimulatedDisk()
    spool = await opened(disk, settings=ROOMY)
    for n in range(6):
        await spool.append("syncs", 0, some(n, 1, 1_500))
    [name] = segments(disk)
    return disk, disk.directories[HOME][name]


async def settle(spool: DiskSpool) -> None:
    spool.settle(range(MANY))
    await spool._idle()


@pytest.mark.parametrize(("at", "read", "gaps"), [(100, WHOLE[3:], 1), (5_000, WHOLE[:2], 2), (9_200, WHOLE[:5], 1)])
def test_a_block_that_is_never_given_costs_what_stands_in_it_and_is_told(at: int, read: list[str], gaps: int) -> None:
    @in_virtual_time
    async def play() -> None:
        disk, inode = await left()
        disk.unreadable = {inode: {at}}
        spool = await opened(disk, settings=ROOMY)
        assert (await names(spool), spool.frames_set_aside) == (read, gaps)
        await settle(spool)
        assert [name.rpartition(".")[2] for name in disk.names(HOME) if disk.directories[HOME][name] == inode] == ["damaged"]

    play()


@pytest.mark.parametrize("at", [100, 5_000, 9_200])
def test_a_block_that_is_given_when_it_is_asked_for_again_costs_nothing(at: int) -> None:
    @in_virtual_time
    async def play() -> None:
        disk, inode = await left()
        first = await opened(disk, settings=ROOMY)
        await first.close()
        disk.unreadable = {inode: {at}}
        asyncio.get_running_loop().call_later(sum(PAUSES_S) - 0.5, disk.unreadable.clear)
        spool = await opened(disk, settings=ROOMY)
        assert (await names(spool), spool.frames_set_aside, spool.spool_id) == (WHOLE, 0, first.spool_id)
        await settle(spool)
        assert [name for name in disk.names(HOME) if disk.directories[HOME][name] == inode] == []

    play()


@pytest.mark.parametrize(("at", "late"), [(100, WHOLE[:3]), (5_000, WHOLE[2:]), (9_200, WHOLE[5:])])
def test_a_block_that_is_given_before_its_segment_goes_comes_late(at: int, late: list[str]) -> None:
    @in_virtual_time
    async def play() -> None:
        disk, inode = await left()
        disk.unreadable = {inode: {at}}
        spool = await opened(disk, settings=ROOMY)
        told = list[dict[tuple[str, int], int]]()
        spool.on_found = lambda: told.append(dict(spool.waiting()))
        disk.unreadable = {}
        mark, sequences = spool.watermark, await spool.append("syncs", 0, some(6, 1))
        spool.settle(range(sequences.start))
        await spool._idle()
        assert told == [{("syncs", 0): 1 + len(late)}]
        await spool.append("syncs", 0, some(7, 1))
        assert await names(spool) == ["e6", *late, "e7"], "behind what was there, and before what comes"
        assert spool.watermark >= mark
        again = await opened(disk, settings=ROOMY)
        assert sorted(await names(again)) == sorted([*WHOLE, "e6", "e7"]), "a kill forgets what was settled"
        await settle(again)
        assert [name for name in disk.names(HOME) if disk.directories[HOME][name] == inode] == []
        assert again.size_bytes == sum(len(disk.inodes[disk.directories[HOME][name]]) for name in segments(disk))

    play()


@in_virtual_time
async def test_each_step_is_told() -> None:
    disk, _ = await left()
    disk.kill()
    of, steps = (await opened(disk, settings=ROOMY))._log, list[int]()
    found = await recovered(disk, of, Backlog(), lambda: steps.append(1))
    assert (found.frames, len(steps) > 1) == (6, True)


@in_virtual_time
async def test_a_want_of_descriptors_at_a_start_is_waited_out() -> None:
    disk, _ = await left()
    before = (await opened(disk, settings=ROOMY)).spool_id
    fail(disk, ["open"], errno.EMFILE)
    spool = await opened(disk, settings=ROOMY)
    await asyncio.sleep(60)
    assert (spool.reason, spool.waiting(), spool.records_aside) == ("failed", {}, 0)
    fail(disk, [])
    await asyncio.sleep(2 * PROBE_S)
    assert (spool.reason, await names(spool), spool.spool_id) == ("ok", WHOLE, before)


@in_virtual_time
async def test_a_want_of_descriptors_puts_an_adoption_off() -> None:
    disk, inode = await left()
    spool = await opened(disk, "1", ROOMY)
    fail(disk, ["open"], errno.EMFILE)
    assert not await spool.adopt(HOME)
    fail(disk, [])
    assert (await spool.adopt(HOME), await names(spool), inode in disk.directories[HOME].values(), ID_FILE in disk.names(HOME)) == (True, WHOLE, True, True)


@pytest.mark.parametrize("is_own", [True, False])
def test_a_segment_that_cannot_be_opened_is_aside_until_it_can(is_own: bool) -> None:
    @in_virtual_time
    async def play() -> None:
        disk, inode = await left()
        spool = spool_on(disk, "0" if is_own else "1", ROOMY)
        if not is_own:
            await spool.open()
        fail(disk, ["open"])
        if is_own:
            await spool.open()
        else:
            assert await spool.adopt(HOME)
        assert (spool.waiting(), spool.records_aside, spool.reason) == ({}, 1, "ok")
        await asyncio.sleep(3 * AGAIN_S)
        assert (spool.waiting(), spool.records_aside) == ({}, 1)
        fail(disk, [])
        await asyncio.sleep(2 * AGAIN_S)
        assert (await names(spool), spool.records_aside) == (WHOLE, 0)
        await settle(spool)
        assert inode not in disk.directories[HOME].values()
        await spool.close()

    play()


@pytest.mark.parametrize("is_own", [True, False])
def test_a_disk_that_gives_nothing_for_some_seconds_at_a_start_loses_nothing(is_own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of our own nor of what is adopted, however much it is."""
    monkeypatch.setattr("gateway.spool.segments.DAMAGED_BYTES_MAX", 0)

    @in_virtual_time
    async def play() -> None:
        disk = SimulatedDisk()
        gone = await opened(disk)
        for n in range(6):
            await gone.append("syncs", 0, some(n, 1, 5_000))
        spool = spool_on(disk, "0" if is_own else "1")
        if not is_own:
            await spool.open()
        fail(disk, ["read"])
        asyncio.get_running_loop().call_later(sum(PAUSES_S) + 5, fail, disk, [])
        if is_own:
            await spool.open()
        else:
            spool.adopt_all([HOME])
            await asyncio.sleep(sum(PAUSES_S) + 1)
        assert (spool.waiting(), spool.records_aside, spool.segments_damaged) == ({}, 6, 6), "and there is a light"
        found = list[int]()
        spool.on_found = lambda: found.append(sum(spool.waiting().values()))
        await asyncio.sleep(AGAIN_S + 10)
        assert (await names(spool), spool.records_aside, found[-1]) == (WHOLE, 0, 6)
        await settle(spool)
        assert len(segments(disk)) == 1
        assert is_own or HOME not in disk.locks
        await spool.close()

    play()


@pytest.mark.parametrize("kind", ["read", "open"])
def test_a_disk_that_gives_nothing_when_a_segment_goes_is_asked_until_it_does(kind: str) -> None:
    @in_virtual_time
    async def play() -> None:
        disk, inode = await left()
        disk.unreadable = {inode: {9_200}}
        spool = await opened(disk, settings=ROOMY)
        assert await names(spool) == WHOLE[:5]
        mark = spool.watermark
        fail(disk, [kind])
        spool.settle(range(MANY))
        await asyncio.sleep(3 * AGAIN_S)
        assert (spool.waiting(), spool.records_aside, inode in disk.directories[HOME].values()) == ({}, 1, True)
        assert spool.watermark >= mark
        fail(disk, [])
        disk.unreadable = {}
        await asyncio.sleep(2 * AGAIN_S)
        assert (await names(spool), spool.records_aside) == (WHOLE[5:], 0)
        await settle(spool)
        assert inode not in disk.directories[HOME].values()
        assert spool.size_bytes == sum(len(disk.inodes[disk.directories[HOME][name]]) for name in segments(disk))

    play()


@in_virtual_time
async def test_what_comes_late_in_several_rounds_comes_once() -> None:
    disk, inode = await left()
    disk.unreadable = {inode: {100, 9_200}}
    spool = await opened(disk, settings=ROOMY)
    rounds = [await names(spool)]
    for still in ({9_200}, {9_200}, set[int]()):
        disk.unreadable = {inode: still}
        spool.settle(range(MANY))
        await asyncio.sleep(2 * AGAIN_S)
        rounds.append(await names(spool))
    assert rounds == [WHOLE[3:5], WHOLE[:3], [], WHOLE[5:]]
    await spool.close()


@in_virtual_time
async def test_what_the_disk_does_not_give_is_never_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that is bad for good, and as many segments as are kept for a person are there."""
    monkeypatch.setattr("gateway.spool.segments.DAMAGED_BYTES_MAX", 0)
    disk, inode = await left()
    disk.unreadable = {inode: {9_200}}
    spool = await opened(disk, settings=ROOMY)
    spool.settle(range(MANY))
    await asyncio.sleep(2 * LOOKS_MAX * AGAIN_S)
    assert (spool.records_aside, [name for name in segments(disk) if disk.directories[HOME][name] == inode] != []) == (1, True)
    await spool.close()
