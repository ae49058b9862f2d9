"""The real gateway, supervisor and all, whose workers' disks fail as a file says: for as long as it says so.

    python -m tests.system.faulty_disk --config gateway.toml

    <data_dir>/disk-fails     a line for each thing that fails: "append ENOSPC", "create EROFS", ...

    append          half of it is written
    sync            what was appended is written, and nobody can say whether it stays; with "sync EIO forgets" it does not
    sync HANGS      nothing is answered until the file says otherwise

What was appended and not synced is not written at all: a kill takes it, as a power cut would.
"""

import errno
import os
import sys
import time
from pathlib import Path
from typing import Final

from gateway import __main__ as program
from gateway import supervisor, worker
from gateway.config import Config
from gateway.disk import File, RealDisk
from gateway.worker import World, real_world
from tests.system.wrapped_disk import WrappedDisk

CONTROL: Final = "disk-fails"
PROGRAM: Final = ("-m", "tests.system.faulty_disk")
_GLANCE_S: Final = 0.01


class Faults:
    """What the file says just now."""

    def __init__(self, control: Path) -> None:
        self._control = control

    def of(self, what: str) -> list[str]:
        """How this fails; empty: it does not."""
        try:
            lines = self._control.read_text().splitlines()
        except FileNotFoundError:
            return []
        return next((words[1:] for line in lines if (words := line.split())[0] == what), [])

    def check(self, what: str) -> None:
        """Raises OSError where this fails."""
        if how := self.of(what):
            raise _error(how[0])


def _error(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


class FaultyFile:
    """A File whose bytes are in nobody's hands until they are synced."""

    def __init__(self, file: File, faults: Faults) -> None:
        self._file, self._faults = file, faults
        self._unsynced = b""

    def append(self, data: bytes) -> None:
        if how := self._faults.of("append"):
            self._file.append(self._unsynced + data[: len(data) // 2])
            self._unsynced = b""
            raise _error(how[0])
        self._unsynced += data

    def read(self, offset: int, size: int) -> bytes:
        return self._file.read(offset, size)

    def size(self) -> int:
        return self._file.size() + len(self._unsynced)

    def sync(self) -> None:
        while self._faults.of("sync") == ["HANGS"]:
            time.sleep(_GLANCE_S)
        how = self._faults.of("sync")
        unsynced, self._unsynced = self._unsynced, b""
        if "forgets" not in how:
            self._file.append(unsynced)
        if how:
            raise _error(how[0])
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class FaultyDisk(WrappedDisk):
    """A Disk that fails as it is told."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(RealDisk())
        self._faults = faults

    def create(self, path: Path) -> File:
        self._faults.check("create")
        return FaultyFile(super().create(path), self._faults)

    def unlink(self, path: Path) -> None:
        self._faults.check("unlink")
        super().unlink(path)


def faulty_world(config: Config) -> World:
    """The real one, on such a disk."""
    return real_world(config)._replace(disk=FaultyDisk(Faults(Path(config.process.data_dir) / CONTROL)))


def main() -> int:
    """Be the supervisor, or with `worker FD` one of its workers; returns the exit code."""
    worker.real_world = faulty_world
    supervisor.WORKER = (*PROGRAM, "worker")  # type: ignore[misc]
    return program.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
