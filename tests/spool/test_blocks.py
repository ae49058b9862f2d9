"""What a disk does not give is zeros, and not forgotten."""

import errno
from pathlib import Path

import pytest

from gateway.spool.blocks import Blocks
from tests.simulated_disk import SimulatedDisk

NAME = Path("/f")


def with_bytes(content: bytes) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.create(NAME).append(content)
    return disk


def test_beside_a_block_that_is_not_given_the_others_are() -> None:
    disk = with_bytes(b"x" * 10_000)
    disk.unreadable = {1: {5_000}}
    blocks = Blocks(disk.open(NAME))
    assert blocks.read(100, 9_000) == b"x" * 3_996 + bytes(4_096) + b"x" * 908
    assert [blocks.lacks(*at) for at in ((0, 4_096), (0, 4_097), (8_191, 1), (8_192, 99))] == [False, True, True, False]
    assert "error" in blocks.reason


def test_behind_the_end_nothing_is_missing() -> None:
    blocks = Blocks(with_bytes(b"x" * 10).open(NAME))
    assert (blocks.read(5, 10), blocks.lacks(0, 99), blocks.reason) == (b"x" * 5 + bytes(5), False, "")


def test_a_want_of_memory_says_nothing_of_the_disk() -> None:
    disk = with_bytes(b"x" * 10)
    disk.faults = lambda kind: errno.ENOMEM if kind == "read" else 0
    with pytest.raises(OSError, match="memory"):
        Blocks(disk.open(NAME)).read(0, 10)
