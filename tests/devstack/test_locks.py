"""A lock is held by the living, and by nobody else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from devstack.locks import FileLock, holder_pid

if TYPE_CHECKING:
    from pathlib import Path


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """The second is refused until the first lets go."""
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_take()
    assert not second.try_take()
    assert holder_pid(tmp_path / "lock") == os.getpid()
    first.release()
    assert holder_pid(tmp_path / "lock") is None
    assert second.try_take()
    second.release()


def test_an_inherited_lock_outlives_its_taker(tmp_path: Path) -> None:
    """Whoever has the open file holds the lock: a guard, after its owner was killed."""
    lock = FileLock(tmp_path / "lock")
    assert lock.try_take()
    inherited = os.dup(lock.fd)
    lock.release()
    assert holder_pid(tmp_path / "lock") == os.getpid()
    os.close(inherited)
    assert holder_pid(tmp_path / "lock") is None


def test_a_lock_file_nobody_holds_says_nothing(tmp_path: Path) -> None:
    """The id in a file left by a crash names nobody, even if that process lives."""
    (tmp_path / "lock").write_text(str(os.getpid()))
    assert holder_pid(tmp_path / "lock") is None
    assert holder_pid(tmp_path / "never-made") is None
