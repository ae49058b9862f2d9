"""A segment's bytes as recovery reads them: what the disk does not give is zeros, and is remembered.

Decided here: what an error says.  Beside a block that cannot be read the others are, so a frame is lost only with the
block it stands in; and a gap with such a block in it is no torn tail, wherever it stands: it was written once.
For want of memory or descriptors nothing can be said of the disk: those are raised.
"""

from itertools import pairwise
from typing import Final

from gateway.disk import NOT_THE_DISKS, File

_BLOCK_BYTES: Final = 4096  # what a disk reads at a time


class Blocks:
    """One file's."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._missing: list[range] = []
        self.reason = ""  # why the first block was not given; empty while all were

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes; zeros in place of blocks that the disk does not give, and of those that are not there."""
        try:
            return self._file.read(offset, size).ljust(size, b"\0")
        except OSError as exc:
            if exc.errno in NOT_THE_DISKS:
                raise
            end = offset + size
            cuts = [offset, *range(offset - offset % _BLOCK_BYTES + _BLOCK_BYTES, end, _BLOCK_BYTES), end]
            if len(cuts) == 2:
                self.reason = self.reason or exc.strerror or "unknown"
                self._missing.append(range(offset, end))
                return bytes(size)
        return b"".join(self.read(start, stop - start) for start, stop in pairwise(cuts))

    def lacks(self, place: int, length: int) -> bool:
        """Whether any of these bytes was not given."""
        return any(one.start < place + length and place < one.stop for one in self._missing)
