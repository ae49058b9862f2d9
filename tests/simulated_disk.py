"""A disk in memory that remembers every operation, and can be every disk that a crash may leave of them.

`SimulatedDisk` keeps what gateway.disk.Disk promises; its `log` is what was done, in order.  `Crash` follows a log
and says at any point what a power cut may leave: what was synced, and of the rest whatever `Loss` takes away.

    name entries not synced     none of them, all, or any of them
    bytes not synced            none, all, a part up to a multiple of 512 or 4,096 bytes, or any of these blocks while
                                the size has grown (the others are zeros)
    a bit that fell over        anywhere in the last 4,096 bytes of a file
"""

import asyncio
import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from gateway.disk import File

T = TypeVar("T")
FLIP_BYTES = 4096


class Op(NamedTuple):
    """One operation; `path` of a directory for what changes names, `inode` for what changes bytes."""

    kind: str  # mkdir, create, link, unlink, rename, sync-directory, write, sync, sync-failed, note
    path: Path = Path()
    name: str = ""
    inode: int = 0
    data: Any = b""


class _File:
    def __init__(self, disk: "SimulatedDisk", inode: int) -> None:
        self._disk = disk
        self._inode = inode

    def append(self, data: bytes) -> None:
        content = self._disk.inodes[self._inode]
        partly = self._disk.fault("append")
        # A write that fails may have written some of it.
        content += data[: len(data) // 2] if partly else data
        self._disk.log.append(Op("write", inode=self._inode, data=bytes(data[: len(data) // 2] if partly else data)))
        if partly:
            raise partly

    def read(self, offset: int, size: int) -> bytes:
        if error := self._disk.fault("read"):
            raise error
        if any(offset < at + 1 and at < offset + size for at in self._disk.unreadable.get(self._inode, ())):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return bytes(self._disk.inodes[self._inode][offset : offset + size])

    def size(self) -> int:
        return len(self._disk.inodes[self._inode])

    def sync(self) -> None:
        if error := self._disk.fault("sync"):
            self._disk.log.append(Op("sync-failed", inode=self._inode))
            raise error
        self._disk.log.append(Op("sync", inode=self._inode))

    def close(self) -> None:
        pass


class SimulatedDisk:
    """gateway.disk.Disk in memory.  `faults` says which operations fail; a failed sync makes nothing durable."""

    def __init__(self) -> None:
        self.inodes: dict[int, bytearray] = {}
        self.directories: dict[Path, dict[str, int]] = {Path("/"): {}}
        self.log: list[Op] = []
        self.faults: Callable[[str], int] = lambda _: 0  # operation → errno, 0 for none
        self.unreadable: dict[int, set[int]] = {}  # inode → offsets that the disk does not give
        self.locks: set[Path] = set()
        self.free = 1 << 40

    def fault(self, kind: str) -> OSError | None:
        number = self.faults(kind)
        return OSError(number, os.strerror(number)) if number else None

    def _may(self, kind: str) -> None:
        if error := self.fault(kind):
            raise error

    def _in(self, path: Path) -> dict[str, int]:
        if path.parent not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", str(path))
        return self.directories[path.parent]

    def note(self, what: object) -> None:
        """Something a test wants to find in the log."""
        self.log.append(Op("note", data=what))

    def state(self) -> object:
        """Equal for disks that hold the same."""
        return tuple((path, name, bytes(self.inodes[inode])) for path in sorted(self.directories) for name, inode in sorted(self.directories[path].items()))

    def kill(self) -> None:
        """The process that held locks is gone."""
        self.locks.clear()

    # What gateway.disk.Disk promises

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    def create(self, path: Path) -> File:
        self._may("create")
        names = self._in(path)
        if path.name in names:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        inode = len(self.inodes) + 1
        self.inodes[inode] = bytearray()
        names[path.name] = inode
        self.log.append(Op("create", path.parent, path.name, inode))
        return _File(self, inode)

    def open(self, path: Path) -> File:
        self._may("open")
        names = self._in(path)
        if path.name not in names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return _File(self, names[path.name])

    def names(self, directory: Path) -> list[str]:
        children = [path.name for path in self.directories if path.parent == directory and path != directory]
        return [*self.directories.get(directory, ()), *children]

    def make_directory(self, path: Path) -> None:
        if path in self.directories:
            return
        self._may("make_directory")
        self.make_directory(path.parent)
        self.directories[path] = {}
        self.log.append(Op("mkdir", path.parent, path.name))
        self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        self._may("sync_directory")
        self.log.append(Op("sync-directory", path))

    def rename(self, path: Path, to: Path) -> None:
        self._may("rename")
        if path.name not in self._in(path):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        self.directories[to.parent][to.name] = self.directories[path.parent].pop(path.name)
        self.log.append(Op("rename", path.parent, path.name, data=to.name))

    def link(self, path: Path, to: Path) -> None:
        self._may("link")
        if path.name not in self._in(path):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        if to.name in self._in(to):
            raise FileExistsError(errno.EEXIST, "exists", str(to))
        inode = self._in(to)[to.name] = self._in(path)[path.name]
        self.log.append(Op("link", to.parent, to.name, inode))

    def unlink(self, path: Path) -> None:
        self._may("unlink")
        names = self._in(path)
        if path.name not in names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        del names[path.name]
        self.log.append(Op("unlink", path.parent, path.name))

    def size(self, path: Path) -> int:
        self._may("size")
        return len(self.inodes[self._in(path)[path.name]])

    def free_bytes(self, directory: Path) -> int:
        assert directory in self.directories, directory
        return self.free

    def lock(self, directory: Path) -> Callable[[], None] | None:
        self._may("lock")
        if directory in self.locks:
            return None
        self.locks.add(directory)
        return lambda: self.locks.discard(directory)

    def close(self) -> None:
        pass


class SlowDisk(SimulatedDisk):
    """Its thread takes a while, and does what it is asked in order."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()
        self.is_hanging = False
        self.pause_s = 0.01

    async def run(self, work: Callable[[], T]) -> T:
        async with self._turn:
            await asyncio.sleep(600 if self.is_hanging else self.pause_s)
            return work()


class Loss(NamedTuple):
    """What a crash does to what was not synced."""

    bytes: str  # none, all, torn, reordered
    block: int = 512
    names: str = "none"  # none, all, any


LOSSES = (
    Loss("none"),
    Loss("all", names="all"),
    Loss("none", names="all"),
    Loss("all"),
    *(Loss(how, block, names) for how in ("torn", "reordered") for block in (512, 4096) for names in ("any", "all")),
)


class Crash:
    """Follows a log, one operation at a time."""

    def __init__(self) -> None:
        self._synced: dict[int, bytes] = {}
        self._written: dict[int, bytearray] = {}
        self._lost: dict[int, list[slice]] = {}  # what a failed sync gave up
        self._names: dict[Path, dict[str, int]] = {Path("/"): {}}
        self._unsynced: dict[Path, list[Op]] = {}

    @classmethod
    def of(cls, disk: SimulatedDisk) -> "Crash":
        """All of a disk as it is now, synced."""
        crash = cls()
        crash._written = {inode: bytearray(content) for inode, content in disk.inodes.items()}
        crash._synced = {inode: bytes(content) for inode, content in disk.inodes.items()}
        crash._names = {path: dict(names) for path, names in disk.directories.items()}
        return crash

    def follow(self, op: Op) -> None:
        match op.kind:
            case "write":
                self._written[op.inode] += op.data
            case "sync":
                synced = bytearray(self._written[op.inode])
                for lost in self._lost.get(op.inode, ()):
                    synced[lost] = bytes(lost.stop - lost.start)
                self._synced[op.inode] = bytes(synced)
            case "sync-failed":
                # The kernel has let go of them and calls them clean: no later sync writes them.
                lost = slice(len(self._synced[op.inode]), len(self._written[op.inode]))
                self._lost.setdefault(op.inode, []).append(lost)
            case "sync-directory":
                for one in self._unsynced.pop(op.path, ()):
                    _apply(self._names, one)
            case "note":
                return
            case _:
                if op.kind == "create":
                    self._written[op.inode], self._synced[op.inode] = bytearray(), b""
                self._unsynced.setdefault(op.path, []).append(op)

    def disk(self, loss: Loss, dice: random.Random) -> SimulatedDisk:
        """What a machine finds that starts after a power cut now."""
        disk = SimulatedDisk()
        disk.directories = {path: dict(names) for path, names in self._names.items()}
        for ops in self._unsynced.values():
            for op in ops:
                if loss.names == "all" or (loss.names == "any" and dice.random() < 0.5):
                    _apply(disk.directories, op)
        # A directory that is not in the one above it is not there.
        for path in sorted(disk.directories):
            if path.parent not in disk.directories:
                del disk.directories[path]
        for inode, content in self._written.items():
            disk.inodes[inode] = bytearray(_left(self._synced[inode], content, loss, dice))
        return disk

    @property
    def is_all_synced(self) -> bool:
        return not self._unsynced and all(self._synced[inode] == content for inode, content in self._written.items())


def _apply(directories: dict[Path, dict[str, int]], op: Op) -> None:
    if op.kind == "mkdir":
        directories.setdefault(op.path / op.name, {})
        return
    names = directories.setdefault(op.path, {})
    if op.kind in {"create", "link"}:
        names[op.name] = op.inode
    elif op.kind == "unlink":
        names.pop(op.name, None)
    elif op.name in names:
        names[op.data] = names.pop(op.name)


def _left(synced: bytes, written: bytearray, loss: Loss, dice: random.Random) -> bytes:
    if loss.bytes == "none" or len(synced) == len(written):
        return synced
    if loss.bytes == "all":
        return bytes(written)
    blocks = range(len(synced) // loss.block, -(-len(written) // loss.block))
    if loss.bytes == "torn":
        return bytes(written[: max(len(synced), dice.choice([*blocks]) * loss.block)])
    out = bytearray(len(written))
    for block in blocks:
        if dice.random() < 0.5:
            at = slice(block * loss.block, (block + 1) * loss.block)
            out[at] = written[at]
    out[: len(synced)] = synced
    return bytes(out)


def flip(disk: SimulatedDisk, dice: random.Random) -> tuple[Path, int] | None:
    """Let one bit of some file's tail fall over; which byte of which file, None where there is none."""
    files = [(path / name, inode) for path, names in disk.directories.items() for name, inode in names.items() if disk.inodes[inode]]
    if not files:
        return None
    path, inode = max(files) if dice.random() < 0.5 else dice.choice(files)
    content = disk.inodes[inode]
    at = dice.randrange(max(0, len(content) - FLIP_BYTES), len(content))
    content[at] ^= 1 << dice.randrange(8)
    return path, at


def prefixes(log: list[Op]) -> Iterator[tuple[int, Crash]]:
    """Every point at which a machine may stop: after so many operations."""
    crash = Crash()
    yield 0, crash
    for number, op in enumerate(log, 1):
        crash.follow(op)
        if op.kind != "note":
            yield number, crash
