"""The names of spool directories, for receipts that outlive their worker, its index and its process.

    <directory>/id    8 random bytes in hex

Id and sequence name one record for ever, and a receipt is answered by "below the watermark all is in Kafka".  So an
id lasts as long as two things are true of its directory, and each start that finds they are not draws another:

    its sequences go on             where none was ever given, what the file says is of segments that are gone
    none of its records was lost    damage would make the answer a lie; of an id that is given up nobody says anything

So it is where records were moved to other sequences (strays.py): those of before are settled, and not in Kafka yet.

What looks like a tail that was torn by a crash counts as never answered: nothing tells it from one that decayed.
Whoever adopts a damaged directory takes its id away.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from gateway import logs
from gateway.core.backlog import Backlog
from gateway.disk import NOT_THE_DISKS, Disk, put_file
from gateway.spool.segments import Recovered, Segments, held_of

ID_FILE: Final = "id"
_ID_BYTES: Final = 8
_FORM: Final = re.compile(rb"[0-9a-f]{16}")


class _Adopted(NamedTuple):
    spool_id: int
    segments: Segments
    shift: int  # its sequences are higher by so much in this process
    end: int  # no sequence of its own is this or higher


class Ids:
    """Whose sequences one spool can speak of: its own directory's, and those of directories it has adopted."""

    def __init__(self, disk: Disk, log: Segments, random: Callable[[int], bytes]) -> None:
        """Args: log: our own directory, once it is locked."""
        self.own = 0  # none yet
        self._disk = disk
        self._log = log
        self._random = random
        self._adopted: list[_Adopted] = []

    def recovered(self, found: Recovered) -> None:
        """Learn our own, if it still holds.  Blocks.  Raises OSError.  Args: found: in our directory."""
        self.own = 0 if found.set_aside or not found.next_sequence else _read(self._disk, self._log.directory)

    def draw(self) -> None:
        """Draw one, unless we have it; durable when this returns.  Blocks.  Raises OSError."""
        self.own = self.own or self._drawn()

    def _drawn(self) -> int:
        spool_id = int.from_bytes(self._random(_ID_BYTES), "big") or 1  # 0 is none
        put_file(self._disk, self._log.directory, ID_FILE, b"%0*x\n" % (2 * _ID_BYTES, spool_id))
        return spool_id

    def give_up(self) -> None:
        """Speak of nothing that was given until now, nor let anybody do so later; ours gets another one.  Blocks.  Raises OSError."""
        for one in self._adopted:
            self._forget(one.segments.directory)
        self._adopted = []
        self.own = self._drawn()

    def _forget(self, directory: Path) -> None:
        if ID_FILE in self._disk.names(directory):
            self._disk.unlink(directory / ID_FILE)
            self._disk.sync_directory(directory)

    def taken_over(self, directory: Path, found: Recovered) -> int:
        """The id of another directory; 0 where it has none, or must have none any more.  Blocks.  Raises OSError."""
        if found.set_aside:
            self._forget(directory)
        return _read(self._disk, directory) if found.next_sequence else 0

    def adopted(self, spool_id: int, segments: Segments, found: Recovered, shift: int) -> None:
        """Speak of it from now on, in its own sequences; of what had no record left too.  Args: shift: of those in this process."""
        if spool_id:
            self._adopted.append(_Adopted(spool_id, segments, shift, found.next_sequence))

    def watermarks(self, own_watermark: int, backlog: Backlog) -> dict[int, int]:
        """As gateway.spool.store.Spool promises."""
        marks = {self.own: own_watermark} if self.own else {}
        for spool_id, segments, shift, end in self._adopted:
            parts = [part for part in backlog.parts if held_of(part).segments is segments]
            marks[spool_id] = backlog.watermark(parts, end + shift) - shift
        return marks


def _read(disk: Disk, directory: Path) -> int:
    """What the file says; 0 where there is none, or none that can be read.  Raises OSError: that is not the disk's fault."""
    if ID_FILE not in disk.names(directory):
        return 0
    try:
        file = disk.open(directory / ID_FILE)
        try:
            text = file.read(0, 2 * _ID_BYTES + 2).strip()
        finally:
            file.close()
    except OSError as exc:
        if exc.errno in NOT_THE_DISKS:
            raise
        logs.warning("the id of a spool cannot be read", directory=directory.name, reason=exc.strerror)
        return 0
    return int(text, 16) if _FORM.fullmatch(text) else 0
