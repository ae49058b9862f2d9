"""What is known of Kafka's topics outlives the process, and is never worth a failed start, nor a late one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import pytest

from gateway.disk import RealDisk
from gateway.kafka import Topic
from gateway.topicsfile import HANGS_S, TopicsFile
from tests.fakes import in_virtual_time
from tests.simulated_disk import SlowDisk

T = TypeVar("T")
SYNCS: Final = Topic("syncs.v1", 12, copies=3, in_sync_min=2, batch_bytes_max=1_048_588)
SIGNUPS: Final = Topic("signups.v1", 3, copies=3, in_sync_min=2, batch_bytes_max=1_048_588)


@pytest.fixture
def disk() -> Iterator[RealDisk]:
    """One thread for all files of a test: what was saved is there when the next one loads."""
    made = RealDisk()
    yield made
    made.close()


async def test_the_next_life_knows_what_this_one_was_told(disk: RealDisk, tmp_path: Path) -> None:
    first, second, third = (TopicsFile(disk, tmp_path, worker) for worker in range(3))
    first.save({"syncs.v1": SYNCS})
    await asyncio.sleep(0)
    second.save({"signups.v1": SIGNUPS})
    await asyncio.sleep(0)
    assert await third.load() == {"syncs.v1": SYNCS, "signups.v1": SIGNUPS}
    third.save({"syncs.v1": SYNCS._replace(partitions=24)})
    await asyncio.sleep(0)
    assert (await first.load())["syncs.v1"].partitions == 24


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"syncs.v1": {"name": 1}}', b"\xff\xfe", b'{"syncs.v1": ["syncs.v1"]}'])
async def test_a_file_that_cannot_be_read_is_as_good_as_none(disk: RealDisk, tmp_path: Path, text: bytes) -> None:
    file = TopicsFile(disk, tmp_path, 0)
    (tmp_path / "kafka-topics.json").write_bytes(text)
    assert await file.load() == {}
    file.save({"syncs.v1": SYNCS})
    await asyncio.sleep(0)
    assert await file.load() == {"syncs.v1": SYNCS}


async def test_a_disk_that_does_not_take_it_is_no_error(disk: RealDisk, tmp_path: Path) -> None:
    file = TopicsFile(disk, tmp_path / "nowhere", 0)
    file.save({"syncs.v1": SYNCS})
    await asyncio.sleep(0)
    assert await file.load() == {}


@in_virtual_time
async def test_a_disk_that_hangs_holds_no_start_up(caplog: pytest.LogCaptureFixture) -> None:
    disk = SlowDisk()
    disk.is_hanging = True
    file = TopicsFile(disk, Path("/data"), 0)
    began_s = asyncio.get_running_loop().time()
    file.save({"syncs.v1": SYNCS})
    assert await file.load() == {}
    assert asyncio.get_running_loop().time() - began_s == HANGS_S
    assert "what was known of kafka's topics cannot be read" in caplog.text
