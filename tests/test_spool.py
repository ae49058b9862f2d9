"""What only a spool on a disk can do wrong.  Its promises stand in tests/contracts/test_spool.py, its parts' in their files."""

import asyncio
from pathlib import Path

import pytest

from gateway.disk import RealDisk
from gateway.errors import ConfigError
from gateway.spool import DiskSpool
from tests.fakes import FakeClock, in_virtual_time
from tests.simulated_disk import SimulatedDisk
from tests.spools import HOME, MANY, SETTINGS, fail, names, opened, some


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
async def test_a_directory_that_somebody_still_has_is_adopted_when_he_is_gone() -> None:
    disk, calls = SimulatedDisk(), list[dict[tuple[str, int], int]]()
    gone = await opened(disk, "1")
    await gone.append("syncs", 0, some(0, 2))
    spool = await opened(disk)
    spool.on_found = lambda: calls.append(dict(spool.waiting()))
    unlock = disk.lock(HOME.parent / "1")
    assert unlock is not None
    spool.adopt_all([HOME.parent / "1"])
    await asyncio.sleep(3.5)
    assert spool.waiting() == {}
    unlock()
    await asyncio.sleep(1)
    assert calls[-1] == {("syncs", 0): 2}
    await spool.close()


async def test_what_was_rejected_can_be_given_back(tmp_path: Path) -> None:
    """As docs/operations.md says: moved beside the workers' directories, it is adopted and replayed like any other."""

    def made_at(name: str) -> DiskSpool:
        return DiskSpool(SETTINGS, tmp_path / name, [bytes(32)], FakeClock().clock, RealDisk(), reserved_for="signups")

    spool = made_at("0")
    await spool.open()
    kept = some(0, 3)
    first = (await spool.append("syncs", 1, kept)).start
    spool.reject("syncs", 1, first + 1, kept[1])
    spool.settle(range(MANY))
    await spool.close()
    (tmp_path / "0/rejected").rename(tmp_path / "200")
    again = made_at("0")
    await again.open()
    assert (again.waiting(), await again.adopt(tmp_path / "200")) == ({}, True)
    assert [record.event_id for _, record in await again.read("syncs", 1, MANY)] == ["e1"]
    await again.close()


@in_virtual_time
async def test_a_bug_in_the_background_is_loud() -> None:
    spool = await opened(SimulatedDisk())
    spool._log.has_room = None  # type: ignore[method-assign,assignment]
    spool.append("syncs", 0, some(0, 1))
    await spool._idle()
    assert isinstance(spool.failed(), TypeError)
    assert spool.reason == "failed"
