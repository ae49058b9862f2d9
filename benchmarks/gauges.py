"""What the gateway shows of itself, read from its board without asking it.  Linux only.

The board (gateway/board.py) is a memfd; whoever runs as the same user may open it through
/proc/<pid>/fd.  So looking costs the gateway nothing, however little of its core is left.
"""

import asyncio
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks import cpu
from gateway.board import Board

_EVERY_S: Final = 0.25  # the gauges are posted twice a second
_BOARD: Final = "/memfd:sluicegate-board"


class Gauges:
    """The first worker's, of the gateway that runs as this process."""

    def __init__(self, pid: int) -> None:
        self._fd = os.open(board_path(pid), os.O_RDWR)
        # One worker and the supervisor, or the one process that is both.
        self._limit = Board(self._fd, 1).slots[0].gauge("sluicegate_overload_limit")
        self._seen: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the most since `forget`."""
        return (min(self._seen), max(self._seen)) if self._seen else (0.0, 0.0)

    def forget(self) -> None:
        self._seen.clear()

    async def watch(self) -> None:
        """Look, until cancelled."""
        while True:
            self._seen.append(self._limit.value)
            await asyncio.sleep(_EVERY_S)


def board_path(pid: int) -> Path:
    """Where its board can be opened.  Raises ProcessGoneError where it has none."""
    for entry in (cpu.PROC / str(pid) / "fd").iterdir():
        if str(entry.readlink()).startswith(_BOARD):
            return entry
    raise cpu.ProcessGoneError(f"process {pid} has no board")


def rss_mb(root: int) -> float:
    """Resident memory of a process and its descendants."""
    pages = sum(int((cpu.PROC / str(pid) / "statm").read_text().split()[1]) for pid in cpu.tree(root, cpu.parents()))
    return pages * mmap.PAGESIZE / 1e6
