"""The one door to the file system for what has to outlive a power cut.

Decided here: nothing; these are the system's calls under names that say what they promise.  `sync` of a file
makes its bytes durable (fdatasync, which takes a grown size along), `sync_directory` its names; neither does
the other's.  What fails raises OSError.

All of it blocks: spools call it inside `run`, which is one thread, so that their calls keep their order.  A disk that
hangs hangs this thread for ever, and must not hang the end of its process: who closes waits a moment, and the
interpreter does not wait at all.  That is why it is no ThreadPoolExecutor, whose threads are joined at exit.
tests/simulated_disk.py is the other one: it forgets, in every way it may, what was not synced.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")
_CLOSE_S: Final = 2.0  # for what was asked before; longer than this the disk hangs

# Before a disk is asked again.  A bus that is reset answers within a second or two.
PAUSES_S: Final = (0.1, 0.5, 1.0)
# What fails with these says nothing of the disk.
NOT_THE_DISKS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class File(Protocol):
    """An open file."""

    def append(self, data: bytes) -> None:
        """Write all of it at the end."""

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from there; fewer at the end."""

    def size(self) -> int:
        """How long it is now."""

    def sync(self) -> None:
        """Return once what was appended is durable.  After an OSError nobody knows, and asking again lies."""

    def close(self) -> None:
        """Give the descriptor back."""


class Disk(Protocol):
    """What a spool needs of a disk."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do it in the disk's thread, after all that was asked before."""

    def create(self, path: Path) -> File:
        """A new file that only its owner may read.  Raises FileExistsError."""

    def open(self, path: Path) -> File:
        """One that is there, for reading."""

    def names(self, directory: Path) -> list[str]:
        """What is in it; empty where there is no such directory."""

    def make_directory(self, path: Path) -> None:
        """Unless it is there, with those above it; durable."""

    def sync_directory(self, path: Path) -> None:
        """Return once the names in it are durable."""

    def rename(self, path: Path, to: Path) -> None:
        """In one step, over what is there."""

    def link(self, path: Path, to: Path) -> None:
        """Another name for it.  Raises FileExistsError: never over what is there."""

    def unlink(self, path: Path) -> None:
        """Remove a file."""

    def size(self, path: Path) -> int:
        """How long a file is."""

    def free_bytes(self, directory: Path) -> int:
        """What may still be written."""

    def lock(self, directory: Path) -> Callable[[], None] | None:
        """Keep all others out until the answer is called, or this process ends; None where another one is in."""

    def close(self) -> None:
        """End the thread, when it has done what was asked; within moments also where it never will have."""


def put_file(disk: Disk, directory: Path, name: str, data: bytes) -> None:
    """A small file, or another in its place: whole or not at all, whatever happens; durable when this returns.  Raises OSError."""
    draft = _draft(disk, directory, f"{name}.draft", data)
    try:
        disk.rename(draft, directory / name)
    except OSError:
        _discard(disk, draft)
        raise
    disk.sync_directory(directory)


def put_new_file(disk: Disk, directory: Path, name: str, data: bytes, unique: str) -> None:
    """The same where several may do so at once: of them one file is put.  Nothing is where one is there.

    Args: unique: a word that nobody else has, for the draft.

    Raises OSError.
    """
    draft = _draft(disk, directory, f"{name}.{unique}.draft", data)
    try:
        with suppress(FileExistsError):
            disk.link(draft, directory / name)
    finally:
        disk.unlink(draft)
    disk.sync_directory(directory)


def _draft(disk: Disk, directory: Path, name: str, data: bytes) -> Path:
    draft = directory / name
    disk.make_directory(directory)
    if name in disk.names(directory):
        disk.unlink(draft)
    file = disk.create(draft)
    try:
        file.append(data)
        file.sync()
    except OSError:
        _discard(disk, draft)
        raise
    finally:
        file.close()
    return draft


def _discard(disk: Disk, draft: Path) -> None:
    """What was begun would keep a full disk full.  A disk that does not even remove it is told by what failed first."""
    with suppress(OSError):
        disk.unlink(draft)


class _RealFile:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class RealDisk:
    """Disk as the system has it."""

    def __init__(self) -> None:
        self._works: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None  # until it is needed
        self._is_closed = False

    async def run(self, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise RuntimeError("the disk is closed")
        loop = asyncio.get_running_loop()
        told: asyncio.Future[T] = loop.create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=_do_all, args=(self._works,), name="disk", daemon=True)
            self._thread.start()
        self._works.put(lambda: _do(work, loop, told))
        return await told

    def create(self, path: Path) -> File:
        return _RealFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600))

    def open(self, path: Path) -> File:
        return _RealFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def names(self, directory: Path) -> list[str]:
        try:
            return [path.name for path in directory.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def make_directory(self, path: Path) -> None:
        if path.is_dir():
            return
        self.make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, path: Path, to: Path) -> None:
        path.rename(to)

    def link(self, path: Path, to: Path) -> None:
        to.hardlink_to(path)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def free_bytes(self, directory: Path) -> int:
        told = os.statvfs(directory)
        return told.f_bavail * told.f_frsize

    def lock(self, directory: Path) -> Callable[[], None] | None:
        # The directory itself is locked: a lock file would have to be written, and a disk may be read-only.
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        return lambda: os.close(fd)

    def close(self) -> None:
        self._is_closed = True
        self._works.put(None)
        if self._thread is not None:
            self._thread.join(_CLOSE_S)


# In the disk's thread


def _do_all(works: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (work := works.get()) is not None:
        work()
        del work  # what it holds may be much, and the next may be long in coming


def _do(work: Callable[[], T], loop: asyncio.AbstractEventLoop, told: "asyncio.Future[T]") -> None:
    """One piece of work, unless nobody waits for it any more before it begins."""
    if told.cancelled():
        return
    try:
        result = work()
    except BaseException as exc:  # noqa: BLE001 - whoever waits is told, whatever it is
        tell = partial(_unless_done, told, told.set_exception, exc)
    else:
        tell = partial(_unless_done, told, told.set_result, result)
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(tell)


def _unless_done(told: "asyncio.Future[T]", tell: Callable[[Any], None], what: object) -> None:
    if not told.done():
        tell(what)
