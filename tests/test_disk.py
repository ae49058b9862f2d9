"""The real disk, as far as a test can see it, and that the simulated one says the same; what it forgets is its own."""

import asyncio
import errno
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.disk import Disk, RealDisk, put_file, put_new_file
from tests.simulated_disk import LOSSES, Crash, Loss, SimulatedDisk


@pytest.fixture(params=[RealDisk, SimulatedDisk])
def disk(request: pytest.FixtureRequest) -> Any:
    disk = request.param()
    yield disk
    disk.close()


def test_bytes_are_appended_and_read_where_they_stand(disk: Disk, tmp_path: Path) -> None:
    disk.make_directory(tmp_path / "a/b")
    disk.make_directory(tmp_path / "a/b")
    file = disk.create(tmp_path / "a/b/f")
    file.append(b"hello ")
    file.append(b"world")
    file.sync()
    assert (file.size(), file.read(6, 100), file.read(2, 3), file.read(99, 1)) == (11, b"world", b"llo", b"")
    file.close()
    assert disk.open(tmp_path / "a/b/f").read(0, 5) == b"hello"


def test_names_are_made_once_moved_and_removed(disk: Disk, tmp_path: Path) -> None:
    home = tmp_path / "a"
    assert disk.names(home) == []
    disk.make_directory(home)
    disk.create(home / "x").close()
    with pytest.raises(FileExistsError):
        disk.create(home / "x")
    disk.create(home / "y").close()
    disk.rename(home / "x", home / "y")
    disk.sync_directory(home)
    assert disk.names(home) == ["y"]
    disk.unlink(home / "y")
    for missing in (disk.open, disk.unlink):
        with pytest.raises(FileNotFoundError):
            missing(home / "y")
    assert disk.free_bytes(home) > 0


def test_another_name_is_never_put_over_what_is_there(disk: Disk, tmp_path: Path) -> None:
    home = tmp_path / "a"
    disk.make_directory(home)
    for name in ("x", "y"):
        disk.create(home / name).append(name.encode())
    disk.link(home / "x", home / "z")
    with pytest.raises(FileExistsError):
        disk.link(home / "x", home / "y")
    disk.unlink(home / "x")
    assert (disk.open(home / "y").read(0, 9), disk.open(home / "z").read(0, 9)) == (b"y", b"x")


def test_a_sync_is_the_systems_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else tells: a page cache answers as if it were the disk, until the power goes."""
    synced = list[tuple[str, str]]()
    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, lambda fd, name=name: synced.append((name, str(Path(f"/proc/self/fd/{fd}").readlink()))))
    disk = RealDisk()
    disk.make_directory(tmp_path / "a")
    file = disk.create(tmp_path / "a/f")
    file.append(b"x")
    assert synced == [("fsync", str(tmp_path))]
    file.sync()
    disk.sync_directory(tmp_path / "a")
    assert synced[1:] == [("fdatasync", str(tmp_path / "a/f")), ("fsync", str(tmp_path / "a"))]
    disk.close()


@pytest.mark.parametrize("put", [put_file, partial(put_new_file, unique="u")])
def test_a_small_file_is_durable_when_it_is_put(put: Callable[[Disk, Path, str, bytes], None]) -> None:
    states = left(lambda disk: put(disk, Path("/d"), "f", b"whole"), Loss("none"))
    assert states == {(("f", b"whole"),)}


@pytest.mark.parametrize("fails", ["append", "sync", "rename"])
@pytest.mark.parametrize("removes", [True, False])
def test_a_small_file_that_cannot_be_put_leaves_nothing_and_what_failed_first_is_told(fails: str, *, removes: bool) -> None:
    """A disk that does not even remove it is no other failure."""
    disk = SimulatedDisk()
    faults = {fails: errno.ENOSPC} | ({} if removes else {"unlink": errno.EROFS})
    disk.faults = lambda kind: faults.get(kind, 0)
    with pytest.raises(OSError, match="space"):
        put_file(disk, Path("/d"), "f", b"whole")
    assert disk.names(Path("/d")) == ([] if removes else ["f.draft"])
    disk.faults = lambda _: 0
    put_file(disk, Path("/d"), "f", b"whole")
    assert disk.names(Path("/d")) == ["f"]


def test_a_lock_keeps_others_out_until_it_is_let_go(disk: Disk, tmp_path: Path) -> None:
    disk.make_directory(tmp_path / "a")
    unlock = disk.lock(tmp_path / "a")
    assert unlock is not None
    assert disk.lock(tmp_path / "a") is None
    unlock()
    again = disk.lock(tmp_path / "a")
    assert again is not None
    again()


async def test_work_is_done_in_the_order_asked(disk: Disk) -> None:
    done: list[int] = []
    works: list[Callable[[], None]] = [lambda n=n: done.append(n) for n in range(20)]  # type: ignore[misc]
    for work in works[:-1]:
        disk_run = disk.run(work)
        await disk_run
    await disk.run(works[-1])
    assert done == list(range(20))


async def test_what_fails_is_told_to_who_asked_and_ends_nothing(disk: Disk) -> None:
    with pytest.raises(ZeroDivisionError):
        await disk.run(lambda: 1 // 0)
    assert await disk.run(lambda: 7) == 7


async def test_work_that_nobody_waits_for_any_more_is_not_begun() -> None:
    """And what was begun is done; its end tells nobody."""
    disk, gate, began, done = RealDisk(), threading.Event(), threading.Event(), list[int]()

    def first() -> None:
        began.set()
        gate.wait()
        done.append(1)

    asked = [asyncio.create_task(disk.run(first)), asyncio.create_task(disk.run(lambda: done.append(2)))]
    await asyncio.to_thread(began.wait)
    for one in asked:
        one.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    gate.set()
    await disk.run(lambda: done.append(3))
    disk.close()
    assert done == [1, 3]
    with pytest.raises(RuntimeError):
        await disk.run(lambda: done.append(4))


HANGING: Final = """
import asyncio, threading
from gateway import disk as module
module._CLOSE_S = 0.01

async def main():
    disk = module.RealDisk()
    asking = asyncio.create_task(disk.run(threading.Event().wait))
    await asyncio.sleep(0)
    disk.close()
    asking.cancel()

asyncio.run(main())
print("ended")
"""


def test_a_disk_that_hangs_does_not_hold_up_the_end() -> None:
    """Neither who closes it nor the interpreter, which joins other threads when it exits."""
    ended = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "ended\n"


def test_only_its_owner_may_read_a_file(tmp_path: Path) -> None:
    RealDisk().create(tmp_path / "f").close()
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


# What the simulated one forgets


def left(act: Callable[[SimulatedDisk], None], loss: Loss) -> set[tuple[tuple[str, bytes], ...]]:
    """Every content of /d that this loss may leave."""
    disk, crash, states = SimulatedDisk(), Crash(), set()
    act(disk)
    for op in disk.log:
        crash.follow(op)
    for seed in range(60):
        after = crash.disk(loss, random.Random(seed))
        states.add(tuple((name, bytes(after.inodes[inode])) for name, inode in sorted(after.directories.get(Path("/d"), {}).items())))
    return states


def _half_synced(disk: SimulatedDisk) -> None:
    disk.make_directory(Path("/d"))
    file = disk.create(Path("/d/f"))
    file.append(b"a" * 600)
    file.sync()
    disk.sync_directory(Path("/d"))
    file.append(b"b" * 700)


def test_a_crash_takes_what_was_not_synced_and_nothing_else() -> None:
    a, b, zeros = b"a" * 600, b"b" * 700, bytes(700)
    assert left(_half_synced, Loss("none")) == {(("f", a),)}
    assert left(_half_synced, Loss("all")) == {(("f", a + b),)}
    assert left(_half_synced, Loss("torn", 512)) == {(("f", a),), (("f", a + b[:424]),)}
    whole, reordered = a + b, {content for ((_, content),) in left(_half_synced, Loss("reordered", 512))}
    assert {whole, a + zeros, a + zeros[:424] + b[424:], a + b[:424] + zeros[424:]} <= reordered
    assert all(content.startswith(a) and len(content) == len(whole) for content in reordered)


def test_names_that_were_not_synced_may_be_gone_or_not() -> None:
    def act(disk: SimulatedDisk) -> None:
        disk.make_directory(Path("/d"))
        for name in ("x", "y"):
            disk.create(Path("/d") / name).sync()
        disk.sync_directory(Path("/d"))
        disk.unlink(Path("/d/x"))
        disk.create(Path("/d/z"))

    def names(loss: Loss) -> set[str]:
        return {"".join(name for name, _ in state) for state in left(act, loss)}

    assert names(Loss("none")) == {"xy"}
    assert names(Loss("none", names="all")) == {"yz"}
    assert names(Loss("none", names="any")) == {"xy", "y", "xyz", "yz"}


def test_what_a_failed_sync_gave_up_no_later_one_makes_durable() -> None:
    def act(disk: SimulatedDisk) -> None:
        _half_synced(disk)
        file = disk.open(Path("/d/f"))
        disk.faults = lambda kind: 5 if kind == "sync" else 0
        with pytest.raises(OSError, match="rror"):
            file.sync()
        disk.faults = lambda _: 0
        file.append(b"c")
        file.sync()

    for loss in LOSSES:
        assert left(act, loss) == {(("f", b"a" * 600 + bytes(700) + b"c"),)}
