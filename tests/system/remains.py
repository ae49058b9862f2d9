"""What a gateway that has ended leaves on its disk: events that still wait for Kafka, and those that Kafka refused for good.

Read by the spool itself, as the next worker would: what it cannot give back was lost.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

from gateway import keys
from gateway.clock import SYSTEM
from gateway.config import Spool as Settings
from gateway.disk import RealDisk
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.key import secrets_of
from tests.system.gateway import Gateway
from tests.system.history import Found, waiting

_ALL_BYTES: Final = 1 << 40


class Remains(NamedTuple):
    """Both as the checker wants them."""

    spool: list[Found]
    rejected: list[Found]


async def remains(data_dir: Path) -> Remains:
    """Of all directories.  Nobody else may be in them."""
    spool_path = data_dir / Settings().directory
    secrets = secrets_of(keys.load(data_dir / "keys.json").spool, RealDisk(), data_dir, spool_path, os.urandom)
    found = Remains([], [])
    for path in sorted(spool_path.iterdir()):
        found.spool.extend(await _held(path, secrets))
        if (path / "rejected").is_dir():
            found.rejected.extend(await _held(path / "rejected", secrets))
    return found


async def _held(path: Path, secrets: tuple[bytes, ...]) -> list[Found]:
    spool = DiskSpool(Settings(), path, secrets, SYSTEM, RealDisk(), reserved_for="")
    await spool.open()
    try:
        lanes = [*spool.waiting()]
        held = [one for lane in lanes for one in waiting(*lane, await spool.read(*lane, _ALL_BYTES))]
        assert not spool.records_aside, f"{path}: {spool.records_aside} records cannot be read"
        return held
    finally:
        await spool.close()


async def stopped(gateway: Gateway) -> Remains:
    """End it, and see what it leaves."""
    assert await gateway.stop() == 0
    return await remains(gateway.directory)
