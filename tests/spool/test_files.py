"""Who owns no spool reads all of it, while its owner writes, replays and removes."""

from pathlib import Path
from typing import Final

import pytest

from gateway.core.event import Record
from gateway.disk import Disk
from gateway.errors import ConfigError
from gateway.spool.files import SpoolFiles
from tests.fakes import in_virtual_time
from tests.simulated_disk import SimulatedDisk
from tests.spools import HOME, fail, opened, some

SPOOL: Final = HOME.parent
SECRET: Final = bytes(32)


def read(disk: Disk, secrets: tuple[bytes, ...] = (SECRET,)) -> tuple[list[str], list[str], int]:
    """(what waits, what was rejected, frames that cannot be read)."""
    files = SpoolFiles(disk, SPOOL, secrets)
    found: tuple[list[str], list[str]] = ([], [])
    for held in files.read():
        found[held.is_rejected].extend([record.event_id for record in held.records])
    return *found, files.unreadable


def names(records: list[Record]) -> list[str]:
    return [record.event_id for record in records]


@in_virtual_time
async def test_all_that_was_appended_is_read_beside_its_owner() -> None:
    disk = SimulatedDisk()
    spool, other = await opened(disk), await opened(disk, "1")
    for first in range(0, 30, 10):
        await spool.append("syncs", first % 3, some(first, 10))
    await other.append("signups", 0, some(30, 5))
    assert read(disk) == (names(some(0, 35)), [], 0)
    await spool.append("syncs", 0, some(40, 1))
    assert len(read(disk)[0]) == 36


@in_virtual_time
async def test_reading_changes_nothing() -> None:
    disk = SimulatedDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 10))
    disk.log.clear()
    read(disk)
    assert [op.kind for op in disk.log] == []


@in_virtual_time
async def test_what_was_rejected_is_told_apart() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    sequences = await spool.append("syncs", 0, some(0, 3))
    [record] = some(1, 1)
    spool.reject("syncs", 0, sequences.start + 1, record)
    await spool._idle()
    waiting, rejected, unreadable = read(disk)
    assert (set(waiting), rejected, unreadable) == ({"e0", "e1", "e2"}, ["e1"], 0)


def test_no_spool_holds_nothing() -> None:
    assert read(SimulatedDisk()) == ([], [], 0)


@in_virtual_time
async def test_a_segment_that_vanishes_meanwhile_is_done_with() -> None:
    disk = SimulatedDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 3))
    directory = disk.directories[HOME]
    names_of = disk.names

    def names_and_gone(path: Path) -> list[str]:
        found = names_of(path)
        if path == HOME:
            for name in [name for name in directory if name.endswith(".spool")]:
                del directory[name]
        return found

    disk.names = names_and_gone  # type: ignore[method-assign,assignment]
    assert read(disk) == ([], [], 0)


@in_virtual_time
async def test_damage_is_counted_and_costs_its_frame() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    for first in range(3):
        await spool.append("syncs", 0, some(first, 1, 500))
    [content] = [content for content in disk.inodes.values() if len(content) > 1_000]
    content[len(content) // 2] ^= 1
    assert read(disk) == (["e0", "e2"], [], 1)


@in_virtual_time
async def test_a_torn_tail_is_what_somebody_writes_now() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    for first in range(3):
        await spool.append("syncs", 0, some(first, 1, 500))
    [content] = [content for content in disk.inodes.values() if len(content) > 1_000]
    del content[-100:]
    assert read(disk) == (["e0", "e1"], [], 0)


@in_virtual_time
async def test_a_disk_that_does_not_read_is_counted() -> None:
    disk = SimulatedDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 1))
    fail(disk, ["read"])
    assert read(disk) == ([], [], 1)
    fail(disk, ["open"])
    assert read(disk) == ([], [], 1)


@in_virtual_time
async def test_a_key_that_is_not_there_is_asked_for() -> None:
    disk = SimulatedDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 1))
    with pytest.raises(ConfigError, match="key id"):
        read(disk, ())


@in_virtual_time
async def test_what_is_set_aside_while_it_is_read_is_found_once_more_or_once_and_never_not_at_all() -> None:
    """Segments come first, because that is the way a record goes."""
    disk = SimulatedDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 3))
    disk.make_directory(HOME / "rejected")
    names_of = disk.names

    def names_and_moved(path: Path) -> list[str]:
        found = names_of(path)
        if path in (HOME, HOME / "rejected"):
            for name in [name for name in names_of(HOME) if name.endswith(".spool")]:
                disk.rename(HOME / name, HOME / "rejected" / name)
        return found

    disk.names = names_and_moved  # type: ignore[method-assign,assignment]
    assert read(disk) == ([], names(some(0, 3)), 0)
