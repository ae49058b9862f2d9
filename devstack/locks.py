"""Exclusive locks between processes, that a crash cannot leave behind.

A lock is a file held with flock(2).  The kernel drops it when the last process that holds
the open file is gone, whatever killed it; so a lock is the proof that somebody lives,
where a file with a process id in it is only a rumour (ids are reused).  The id is written
into the file all the same, for messages.

Lock files are never unlinked: a process could then lock a file that has lost its name
while another locks the new one.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class FileLock:
    """One lock file, held or not."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is touched before `try_take`."""
        self._path = path
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        """The open file.  A process that inherits it holds the lock too."""
        assert self._fd is not None, "the lock is not held"
        return self._fd

    def try_take(self) -> bool:
        """Take the lock if nobody holds it, and write our process id into the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.truncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go of our share; a process that inherited `fd` holds on until it ends."""
        # Closed, not LOCK_UN: unlocking would take it from those who inherited it as well.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def holder_pid(path: Path) -> int | None:
    """Return the id of the process that holds the lock, None when it is free."""
    try:
        recorded = path.read_text()
    except FileNotFoundError:
        return None
    # A shared lock would do for the question, and would not rewrite the file; but it could
    # make a `try_take` at that instant fail, so the window is kept as small as one call.
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(recorded or 0)
    finally:
        os.close(fd)
    return None
