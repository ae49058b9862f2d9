"""A disk behind which another one stands: for tests in which some of what a disk does is different."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.disk import Disk, File

T = TypeVar("T")


class WrappedDisk:
    """A Disk that leaves everything to the one behind it; who derives from it does some of it in another way."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def run(self, work: Callable[[], T]) -> T:
        return await self._disk.run(work)

    def create(self, path: Path) -> File:
        return self._disk.create(path)

    def open(self, path: Path) -> File:
        return self._disk.open(path)

    def names(self, directory: Path) -> list[str]:
        return self._disk.names(directory)

    def make_directory(self, path: Path) -> None:
        self._disk.make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._disk.sync_directory(path)

    def rename(self, path: Path, to: Path) -> None:
        self._disk.rename(path, to)

    def link(self, path: Path, to: Path) -> None:
        self._disk.link(path, to)

    def unlink(self, path: Path) -> None:
        self._disk.unlink(path)

    def size(self, path: Path) -> int:
        return self._disk.size(path)

    def free_bytes(self, directory: Path) -> int:
        return self._disk.free_bytes(directory)

    def lock(self, directory: Path) -> Callable[[], None] | None:
        return self._disk.lock(directory)

    def close(self) -> None:
        self._disk.close()
