"""Spools on a simulated disk, as the tests of their parts want them."""

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gateway.config import Spool as Settings
from gateway.core.event import Record
from gateway.spool.disk_spool import DiskSpool
from tests.fakes import FakeClock
from tests.records import made
from tests.simulated_disk import SimulatedDisk

HOME: Final = Path("/data/spool/0")
SETTINGS: Final = Settings(bytes_max=400_000, signups_reserve_bytes=10_000, segment_bytes=8_000, rejected_bytes_max=20_000)
MANY: Final = 1 << 30


def some(first: int, count: int, size: int = 10) -> list[Record]:
    """Records of names that say their number."""
    return [made(f"e{n}", b"u1", b"x" * size) for n in range(first, first + count)]


def spool_on(disk: SimulatedDisk, name: str = "0", settings: Settings = SETTINGS, secret: bytes = bytes(32)) -> DiskSpool:
    """One that is not open yet; whoever had the directory is gone."""
    disk.kill()
    return DiskSpool(settings, HOME.parent / name, [secret], FakeClock().clock, disk, reserved_for="signups")


async def opened(disk: SimulatedDisk, name: str = "0", settings: Settings = SETTINGS) -> DiskSpool:
    """The same, open."""
    spool = spool_on(disk, name, settings)
    await spool.open()
    return spool


async def names(spool: DiskSpool, topic: str = "syncs", partition: int = 0) -> list[str]:
    """All that waits in a lane, in order."""
    return [one.event_id for _, one in await spool.read(topic, partition, MANY)]


def segments(disk: SimulatedDisk, name: str = "0") -> list[str]:
    """The files of a directory that hold records, oldest first."""
    return sorted(one for one in disk.directories[HOME.parent / name] if one.endswith(".spool"))


def fail(disk: SimulatedDisk, kinds: Iterable[str], number: int = errno.EIO) -> None:
    """Let these operations fail from now on."""
    failing = set(kinds)
    disk.faults = lambda kind: number if kind in failing else 0
